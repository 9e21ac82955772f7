"""The page by what it says; how it looks is for the browser tests and for people."""

import re

from tests.sandbox.process import Sandbox


def read(sandbox: Sandbox, address: str = "/") -> str:
    answer = sandbox.control.get(address)
    assert answer.status_code == 200
    return answer.text


def test_it_says_that_nothing_is_real(sandbox: Sandbox) -> None:
    page = read(sandbox)
    assert "development sandbox: nothing here reaches a real phone" in page
    assert "Africa/Accra" in page
    assert "Nothing has arrived yet." in page
    assert "No faults are on." in page


def test_texts_stand_in_conversations(sandbox: Sandbox) -> None:
    sandbox.send("0244123456", "First", ClientReference="ref-9")
    sandbox.send("0244123456", "Second")
    sandbox.send("0201234567", "Other")
    page = read(sandbox, "/?to=%2B233244123456")
    assert page.count('class="row"') == 2
    assert page.count('class="bubble') == 2
    assert page.index("Second") < page.index("First")
    assert "reference ref-9" in page
    assert "2 texts, newest first" in page


def test_every_text_is_escaped(sandbox: Sandbox) -> None:
    nasty = '<script>alert(1)</script>"\'&https://a.example/"><b>'
    sandbox.send(content=nasty, ClientReference=nasty)
    sandbox.mail(subject="<script>s</script>", text=nasty, html=f"<p>{nasty}</p>", message_id="<script@x>")
    mail = sandbox.messages(kind="email")[0]["id"]
    for address in (
        "/",
        "/?view=mail",
        f"/?view=mail&mail={mail}",
        "/?q=<script>",
        "/?to=<script>",
        "/?mail=\"'<script>",
    ):
        page = read(sandbox, address)
        assert re.findall(r"<script[^>]*>", page) == ['<script src="/static/page.js" defer>']
        assert "<b>" not in page


def test_html_mail_is_shown_in_a_closed_frame(sandbox: Sandbox) -> None:
    sandbox.mail(subject="Weekly", text="plain words", html="<p>rich</p>")
    answer = sandbox.control.get("/?view=mail")
    assert 'sandbox="allow-popups allow-popups-to-escape-sandbox"' in answer.text
    assert 'srcdoc="&lt;base target=&quot;_blank&quot;&gt;&lt;p&gt;rich&lt;/p&gt;' in answer.text
    assert "plain words" in answer.text
    assert "script-src 'self'" in answer.headers["content-security-policy"]


def test_a_mail_without_html_shows_its_text(sandbox: Sandbox) -> None:
    sandbox.mail(text="See https://a.example/x?y=1&z=2.")
    page = read(sandbox, "/?view=mail")
    assert "<iframe" not in page
    assert '<a href="https://a.example/x?y=1&amp;z=2" target="_blank" rel="noopener">' in page


def test_search_narrows_the_list(sandbox: Sandbox) -> None:
    sandbox.batch(["0244123456", "0201234567"])
    sandbox.mail("ama@example.com")
    sandbox.mail("kofi@example.com")
    for search in ("0244", "233244", "+233 24", "4123456"):
        assert read(sandbox, f"/?q={search.replace('+', '%2B')}").count('class="row"') == 1
    assert "Nothing matches the search." in read(sandbox, "/?q=nobody")
    assert read(sandbox, "/?view=mail&q=AMA").count('class="row"') == 1


def test_long_lists_come_in_pages_of_fifty(sandbox: Sandbox) -> None:
    sandbox.batch([f"23324412{n:04d}" for n in range(120)])
    page = read(sandbox)
    assert page.count('class="row"') == 50
    assert "1 to 50 of 120" in page
    assert read(sandbox, "/?page=3").count('class="row"') == 20
    assert "none of 120 here" in read(sandbox, "/?page=999999999")
    assert read(sandbox, "/?page=x").count('class="row"') == 50


def test_faults_are_told_in_words(sandbox: Sandbox) -> None:
    sandbox.faults(delay_ms=300, share=0.5, hang=False)
    page = read(sandbox)
    assert "accepted, then answered 300 ms late; 50% of the requests are hit" in page
    assert "never answered" not in page


def test_the_clear_button_empties_it_for_this_page_only(sandbox: Sandbox) -> None:
    sandbox.send()
    assert sandbox.control.post("/clear", headers={"Origin": "https://elsewhere.example"}).status_code == 403
    assert sandbox.total() == 1
    assert sandbox.control.get("/").headers["referrer-policy"] == "same-origin"  # or browsers send "Origin: null"
    answer = sandbox.control.post("/clear", headers={"Origin": sandbox.control_url})
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    assert sandbox.total() == 0


def test_files_and_methods(sandbox: Sandbox) -> None:
    assert sandbox.control.get("/static/page.css").headers["content-type"].startswith("text/css")
    assert sandbox.control.head("/").content == b""
    assert sandbox.control.get("/static/../page.py").status_code == 404
    assert sandbox.control.get("/static/%2e%2e/page.py").status_code == 404
    assert sandbox.control.put("/").status_code == 405
