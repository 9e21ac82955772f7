"""The words of what accounts tells people."""

from __future__ import annotations

from core.delivery.rules import Purpose
from core.delivery.wording import Template

_WHY = "You get this because it is about the safety of your account."
_NOT_YOU = (
    "If it was not: change your password at {site}/accounts/password/change/ at once, sign the other places out at"
    " {site}/accounts/sessions/ and tell your YEA office."
)
_WHERE = "Time: {when}\nPlace: {place}\nIP address: {ip}\nDevice: {device}"
_SOMEBODY = {
    "username": "ama",
    "when": "Mon 23 Nov, 06:00 (Accra)",
    "place": "Kumasi",
    "ip": "102.176.0.1",
    "device": "Chrome on Android",
    "site": "https://pms.example",
}
_SHORT = {"username", "when", "site"}

_SIGN_IN = (
    Template(
        key="accounts.new_sign_in",
        purpose=Purpose.SECURITY,
        title="New sign-in to your account {username}",
        text=(
            "Somebody signed in to your YEA Poultry account {username} from a device or place that is new to us.\n\n"
            f"{_WHERE}\n\nIf it was you, there is nothing to do.\n\n{_NOT_YOU}"
        ),
        sms="YEA Poultry: new sign-in, {when}, {device}, {where}. Not you? Change your password now: {site}",
        examples={**_SOMEBODY, "where": "Kumasi"},
        why=_WHY,
    ),
    Template(
        key="accounts.second_factor_added",
        purpose=Purpose.SECURITY,
        title="Two-step sign-in: a method was added",
        text=(
            "A way of confirming your sign-in was added to your YEA Poultry account {username}. From now on you confirm"
            f" each sign-in with it.\n\n{_WHERE}\n\nIf it was you: keep your recovery codes where you find them when"
            f" the phone is lost.\n\n{_NOT_YOU}"
        ),
        sms="YEA Poultry: two-step sign-in was added to your account {username}, {when}. Not you? Tell your YEA office"
        " now: {site}",
        examples=_SOMEBODY,
        why=_WHY,
    ),
    Template(
        key="accounts.second_factor_off",
        purpose=Purpose.SECURITY,
        title="Two-step sign-in is off",
        text=(
            "Two-step sign-in was switched off for your YEA Poultry account {username}. The password alone opens it"
            " now; your recovery codes and trusted devices are gone.\n\n"
            f"{_WHERE}\n\nIf it was you, there is nothing to do.\n\n{_NOT_YOU}"
        ),
        sms="YEA Poultry: two-step sign-in is off for your account {username}, {when}. Not you? Change your password"
        " now: {site}",
        examples=_SOMEBODY,
        why=_WHY,
    ),
    Template(
        key="accounts.second_factor_reset",
        purpose=Purpose.SECURITY,
        title="Two-step sign-in was reset",
        text=(
            "The administrator {by} has reset the two-step sign-in of your YEA Poultry account {username}.\n\n"
            "Time: {when}\n\nWhat it means: your authenticator app, security keys, recovery codes and trusted devices"
            " do not work for it any more. Sign in at {site} and set up a new one.\n\n"
            "If you did not ask for this, tell your YEA office at once."
        ),
        sms="YEA Poultry: two-step sign-in of {username} was reset by {by}, {when}. Sign in and set it up again."
        " Not asked for? Tell YEA now.",
        examples={**{name: _SOMEBODY[name] for name in _SHORT}, "by": "akosua"},
        why=_WHY,
    ),
    Template(
        key="accounts.recovery_code_used",
        purpose=Purpose.SECURITY,
        title="A recovery code was used, {left} left",
        text=(
            "A recovery code was used for your YEA Poultry account {username}. It does not work again; {left} left."
            f" {{few}}\n\n{_WHERE}\n\n"
            "If it was you and your phone is lost: remove the old app and set up a new one at {site}/accounts/2fa/."
            f"\n\n{_NOT_YOU}"
        ),
        sms="YEA Poultry: a recovery code of {username} was used, {when}. {left} left. {few} Not you? Change your"
        " password: {site}",
        examples={**_SOMEBODY, "left": "2", "few": "Make new ones now."},
        why=_WHY,
    ),
)


def security_event(*, what: str, username: str, role: str, by: str, when: str, reason: str) -> tuple[str, str]:
    """Title and text of what platform admins are told about the account of somebody who works for the system."""
    title = f"{what}: {username} ({role})"
    why = f" Reason: {reason}." if reason else ""
    return title, (
        f"{when}: {by} did this to the account {username} ({role}): {what.lower()}.{why}"
        " If this was not agreed, look at the security events of both accounts and suspend the one that did it."
    )


WELCOME = Template(
    "accounts.welcome",
    Purpose.SERVICE,
    {"name": "Ama", "site": "https://pms.example"},
    title="Welcome to the YEA Poultry Management System",
    text="Dear {name},\n\nyour account is ready. Sign in with your phone number or your e-mail address and the password"
    " that you have chosen:\n\n{site}",
    sms="Welcome to YEA Poultry. Your account is ready. Sign in with this phone number and your password: {site}",
)
FIRST_PASSWORD = Template(
    "accounts.first_password",
    Purpose.SERVICE,
    {
        "name": "Ama",
        "role": "Regional staff",
        "days": "7",
        "until": "Mon 23 Nov, 06:00 (Accra)",
        "link": f"https://pms.example/accounts/password/new/{'x' * 43}/",
    },
    title="Choose the password of your new account",
    text="Dear {name},\n\nan account of the YEA Poultry Management System was made for you ({role}). Choose your"
    " password until {until}:\n\n{link}\n\nThen sign in with your phone number or your e-mail address. If you expect no"
    " account, do nothing: without a password nobody can use it.",
    sms="YEA Poultry: choose the password of your account within {days} days: {link}",
    secret=True,
)
VERIFY_EMAIL = Template(
    "accounts.verify_email",
    Purpose.SECURITY,
    {
        "until": "Mon 23 Nov, 06:00 (Accra)",
        "link": f"https://pms.example/accounts/email/verify/{'x' * 43}/",
    },
    title="Confirm your e-mail address",
    text="Somebody gave this e-mail address for an account of the YEA Poultry Management System. If it was you, confirm"
    " it until {until}:\n\n{link}\n\nIf it was not you, do nothing.",
    secret=True,
)
RESET_LINK = Template(
    "accounts.reset_link",
    Purpose.SECURITY,
    {
        "name": "Ama",
        "until": "Mon 23 Nov, 06:00 (Accra)",
        "link": f"https://pms.example/accounts/password/new/{'x' * 43}/",
    },
    title="Set a new password",
    text="Dear {name},\n\nsomebody asked for a new password for your account. If it was you, set it until"
    " {until}:\n\n{link}\n\nOr use the code in the SMS that went to your phone: either will do, once. If it was not"
    " you, do nothing: your password stays as it is.",
    secret=True,
)
_CODE = {"code": "604713", "minutes": "10"}
RESET_CODE = Template(
    "accounts.reset_code",
    Purpose.OTP,
    _CODE,
    title="Your code",
    sms="YEA Poultry: {code} is your code for a new password. It is good for {minutes} minutes. If you did not ask for"
    " it, do nothing. Give it to nobody.",
    secret=True,
)
PHONE_CODE = Template(
    "accounts.phone_code",
    Purpose.OTP,
    _CODE,
    title="Your code",
    sms="YEA Poultry: {code} is your code to confirm this phone number. It is good for {minutes} minutes. Give it to"
    " nobody.",
    secret=True,
)
ORDER_CODE = Template(
    "accounts.order_code",
    Purpose.OTP,
    _CODE,
    title="Your code",
    sms="YEA Poultry: {code} is your code to confirm your order. It is good for {minutes} minutes. Give it to nobody.",
    secret=True,
)
PASSWORD_CHANGED = Template(
    "accounts.password_changed",
    Purpose.SECURITY,
    {"name": "Ama", "when": "Mon 23 Nov, 06:00 (Accra)", "site": "https://pms.example"},
    title="Your password was changed",
    text="Dear {name},\n\nthe password of your account was changed on {when}, and all other devices were signed out."
    " If it was you, there is nothing to do. If it was not you, ask for a new password at once and tell an"
    " administrator:\n\n{site}",
    sms="YEA Poultry: your password was changed on {when}. If it was not you, ask for a new one at once: {site}",
)
ALREADY_REGISTERED = Template(
    "accounts.already_registered",
    Purpose.SECURITY,
    {"name": "Ama", "site": "https://pms.example"},
    title="You have an account already",
    text="Dear {name},\n\nsomebody tried to open an account with your phone number or your e-mail address. You have one"
    " already, and nothing was changed. If it was you and you have forgotten your password, ask for a new"
    " one:\n\n{site}",
    sms="YEA Poultry: somebody tried to register with your details. You have an account already. Forgot the password?"
    " Ask for a new one: {site}",
)
ROLE_CHANGED = Template(
    "accounts.role_changed",
    Purpose.SECURITY,
    {
        "name": "Ama",
        "by": "Yaw Boateng",
        "before": "Constituency staff, Bantama (Ashanti)",
        "after": "Regional staff, Ashanti",
        "when": "Mon 23 Nov, 06:00 (Accra)",
    },
    title="Your role was changed",
    text="Dear {name},\n\n{by} changed your role on {when}.\n\nBefore: {before}\nNow: {after}\n\nYou were signed out;"
    " sign in again. If this is not right, tell your administrator.",
    sms="YEA Poultry: {by} changed your role on {when}. Before: {before}. Now: {after}. If this is not right, tell your"
    " administrator.",
)
ROLE_OF_ANOTHER_CHANGED = Template(
    "accounts.role_of_another_changed",
    Purpose.SECURITY,
    {
        "person": "Ama Darko (ama)",
        "by": "Yaw Boateng",
        "before": "Constituency staff, Bantama (Ashanti)",
        "after": "Regional staff, Ashanti",
        "when": "Mon 23 Nov, 06:00 (Accra)",
    },
    title="The role of {person} was changed",
    text="{by} changed the role of {person} on {when}.\n\nBefore: {before}\nNow: {after}\n\nIf this was not agreed,"
    " change it back and ask {by}.",
    sms="YEA Poultry: {by} changed the role of {person} on {when}. Before: {before}. Now: {after}. If this was not"
    " agreed, ask {by}.",
)
STAFF_INVITATION = Template(
    "accounts.staff_invitation",
    Purpose.SERVICE,
    {
        "by": "Yaw Boateng",
        "position": "Regional staff, Ashanti",
        "until": "Mon 23 Nov, 06:00 (Accra)",
        "link": f"https://pms.example/accounts/invitation/{'x' * 43}/",
    },
    title="You are invited to the YEA Poultry Management System",
    text="{by} invites you to work in the YEA Poultry Management System as: {position}.\n\nOpen your account until"
    " {until}:\n\n{link}\n\nThe link is for you alone: do not pass it on. If you expect no invitation, do nothing.",
    secret=True,
)
TEMPLATES = (
    *_SIGN_IN,
    *(WELCOME, FIRST_PASSWORD, VERIFY_EMAIL, RESET_LINK, RESET_CODE, PHONE_CODE, ORDER_CODE),
    *(PASSWORD_CHANGED, ALREADY_REGISTERED, ROLE_CHANGED, ROLE_OF_ANOTHER_CHANGED, STAFF_INVITATION),
)
