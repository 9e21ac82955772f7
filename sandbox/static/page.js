"use strict";
// Renews the parts of the page that changed, and only those: no flicker, and an open mail stays as it is.
const parts = [...document.querySelectorAll("[data-live]")];
const shown = new Map(parts.map((part) => [part.id, part.innerHTML]));
const state = document.getElementById("state");

function inUse(part) {
  const chosen = getSelection();
  return !chosen.isCollapsed && part.contains(chosen.anchorNode);
}

async function renew() {
  if (document.hidden) return;
  const answer = await fetch(location.href, { cache: "no-store", headers: { "X-Renew": "1" } });
  if (!answer.ok) throw new Error(answer.status);
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const part of parts) {
    const html = fresh.getElementById(part.id).innerHTML;
    if (html === shown.get(part.id) || inUse(part)) continue;
    const focused = part.contains(document.activeElement) && document.activeElement.getAttribute("href");
    part.innerHTML = html;
    part.className = fresh.getElementById(part.id).className;
    shown.set(part.id, html);
    if (focused) part.querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus();
  }
}

async function forever() {
  try {
    await renew();
    state.textContent = "";
  } catch {
    state.textContent = "The sandbox does not answer; still trying.";
  }
  setTimeout(forever, 2000);
}

setTimeout(forever, 2000);
document.addEventListener("visibilitychange", () => document.hidden || renew().catch(() => {}));
