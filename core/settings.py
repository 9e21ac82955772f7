"""Settings of the project, from the environment and `.env` alone. `.env.example` lists every variable."""

from __future__ import annotations

import hashlib
import os
import re
import warnings
from pathlib import Path

from kombu import Exchange, Queue
from redis.backoff import NoBackoff
from redis.retry import Retry

from core import env, logs

BASE_DIR = Path(__file__).resolve().parent.parent
env.env.read_env(os.environ.get("PMS_ENV_FILE", BASE_DIR / ".env"))

# --- What this installation is -------------------------------------------------------------------------------------
PMS_ENV = env.choice("PMS_ENV", "production", {"production", "development"})
DEVELOPMENT = PMS_ENV == "development"
DEFAULT_SECRET_KEY = "not-a-secret-set-SECRET_KEY-before-you-serve-anyone"  # noqa: S105 - refused by core.checks in production
SECRET_KEY = env.text("SECRET_KEY") or DEFAULT_SECRET_KEY  # empty, as in .env.example: the check says what to set
SECRET_KEY_FALLBACKS = env.words("SECRET_KEY_FALLBACKS")  # what they have signed and sealed is still read
DEBUG = env.flag("DEBUG", False)
ALLOWED_HOSTS = env.words("ALLOWED_HOSTS", "127.0.0.1,localhost,[::1]" if DEVELOPMENT else "")
CSRF_TRUSTED_ORIGINS = env.words("CSRF_TRUSTED_ORIGINS")
BASE_URL = env.url("BASE_URL", "http://127.0.0.1:8000" if DEVELOPMENT else "https://localhost", ("http", "https"))

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",  # the files of the docs page, so that it works offline
    "django_celery_beat",
    "django_structlog",
    "dashboards",
    "sales_revenue",
    "advertising",
    "farms",
    "accounts",  # before allauth, whose pages it themes
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "accounts.sessions.Sessions",  # allauth.usersessions
    "allauth.headless",
    "core",
    "core.health",
    "core.reporting",
    "core.delivery",
    "core.jobs",
    "core.api",
    "core.base",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "core.middleware.RequestLog",  # after the sign-in is known: runs say who asked for them
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "accounts.middleware.SecondFactorFirst",
]
ROOT_URLCONF = "core.urls"
WSGI_APPLICATION = "core.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# --- PostgreSQL ----------------------------------------------------------------------------------------------------
_DATABASE = env.postgres("DATABASE_URL", "postgres://pms@127.0.0.1:5432/pms")
DATABASES = {
    "default": {
        **_DATABASE,
        "CONN_MAX_AGE": 60,
        "CONN_HEALTH_CHECKS": True,
        "DISABLE_SERVER_SIDE_CURSORS": True,  # PgBouncer in transaction mode must work
        "OPTIONS": {  # a server that has vanished is noticed in seconds
            **_DATABASE.get("OPTIONS", {}),
            "connect_timeout": 5,
            "keepalives_idle": 30,
            "tcp_user_timeout": 20_000,
            # None: never. Only statements that ask for it are prepared (core/jobs/prepared.py)
            "prepare_threshold": 1000 if env.flag("DATABASE_PREPARED_STATEMENTS", True) else None,
        },
    }
}

# --- Redis and Celery (the documented names) -----------------------------------------------------------------------
REDIS_ENABLED = env.flag("REDIS_ENABLED", True)
REDIS_URL = env.url("REDIS_URL", "redis://localhost:6379/1", env.BROKER_SCHEMES)
CELERY_BROKER_URL = env.url("CELERY_BROKER_URL", "redis://localhost:6379/0", env.BROKER_SCHEMES)
CELERY_RESULT_BACKEND = env.url("CELERY_RESULT_BACKEND", "redis://localhost:6379/0", env.BROKER_SCHEMES)
CELERY_BEAT_SCHEDULER = "django_celery_beat.schedulers:DatabaseScheduler"
CELERY_TIMEZONE = "Africa/Accra"
CACHE_TABLE = "django_cache"
CACHES = {
    "default": (
        {
            "BACKEND": "django.core.cache.backends.redis.RedisCache",
            # a list: Django takes what is parted by ; for replicas
            "LOCATION": [REDIS_URL] if REDIS_URL.startswith("sentinel://") else REDIS_URL,
            "OPTIONS": {  # who asks the cache would rather go without than wait
                **({"pool_class": "core.base.sentinels.Pool"} if REDIS_URL.startswith("sentinel://") else {}),
                "socket_connect_timeout": 0.5,
                "socket_timeout": 0.5,
                "retry": Retry(NoBackoff(), 0),
            },
        }
        if REDIS_ENABLED
        else {"BACKEND": "django.core.cache.backends.db.DatabaseCache", "LOCATION": CACHE_TABLE}
    )
}
CELERY_TASK_SERIALIZER = CELERY_RESULT_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TASK_DEFAULT_QUEUE = "default"
CELERY_TASK_QUEUES = [Queue(name, Exchange(""), routing_key=name) for name in ("urgent", "default", "bulk")]
CELERY_TASK_CREATE_MISSING_QUEUES = False
CELERY_TASK_ROUTES = ("core.jobs.task.route",)
# Acknowledge after the work; a redelivered message finds its run claimed, so the visibility timeout can be short.
CELERY_TASK_ACKS_LATE = CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_TASK_TRACK_STARTED = True
CELERY_TASK_SOFT_TIME_LIMIT = 300
CELERY_TASK_TIME_LIMIT = 330
CELERY_WORKER_CONSUMER = "core.jobs.consumer:Consumer"
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_MAX_TASKS_PER_CHILD = 10_000
CELERY_WORKER_MAX_MEMORY_PER_CHILD = 300_000  # kB
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT = 5  # seconds that running tasks get; what is cut off runs again elsewhere
CELERY_WORKER_CANCEL_LONG_RUNNING_TASKS_ON_CONNECTION_LOSS = False  # True loses running tasks (celery.md B 3/4)
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None  # a worker waits for Redis however long it is away
CELERY_BROKER_CHANNEL_ERROR_RETRY = True  # READONLY and OOM answers do not end the worker
# With sentinel:// addresses: the name of the primary that the sentinels watch.
REDIS_SENTINEL_MASTER = env.text("REDIS_SENTINEL_MASTER", "mymaster")
SENTINEL_OPTIONS = {"socket_timeout": 0.3, "socket_connect_timeout": 0.3, "retry": Retry(NoBackoff(), 0)}
_SENTINELS = {"master_name": REDIS_SENTINEL_MASTER, "sentinel_kwargs": SENTINEL_OPTIONS}
CELERY_BROKER_TRANSPORT_OPTIONS = {
    **(_SENTINELS if CELERY_BROKER_URL.startswith("sentinel://") else {}),
    "visibility_timeout": 60,
    "unacked_restore_interval": 5,
    "unacked_restore_throttle": 1,
    "socket_timeout": 5,
    "socket_connect_timeout": 2,
    "socket_keepalive": True,
    "health_check_interval": 10,
    "retry_on_timeout": False,  # would repeat a publish whose answer was lost
    "priority_steps": [0],  # one list a queue: the lanes are queues, not priorities
    "queue_order_strategy": "round_robin",  # no lane starves another
}
CELERY_RESULT_BACKEND_TRANSPORT_OPTIONS = _SENTINELS if CELERY_RESULT_BACKEND.startswith("sentinel://") else {}
CELERY_RESULT_EXPIRES = 86_400
CELERY_REDIS_SOCKET_TIMEOUT = 1.0
CELERY_REDIS_SOCKET_CONNECT_TIMEOUT = 0.5
CELERY_BEAT_SYNC_EVERY = 1  # a beat killed after a firing does not fire it again
# Celery closes the database connection around every task unless this is high; a new one costs more than the task.
CELERY_DB_REUSE_MAX = 100_000

# --- Time and language ---------------------------------------------------------------------------------------------
USE_TZ = True
TIME_ZONE = "Africa/Accra"
LANGUAGE_CODE = "en"
USE_I18N = True

# --- People --------------------------------------------------------------------------------------------------------
AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = ["accounts.backends.Accounts"]
PASSWORD_HASHERS = ["accounts.hashers.Argon2"]
AUTH_PASSWORD_VALIDATORS = [
    {
        "NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator",
        "OPTIONS": {"user_attributes": ("username", "first_name", "last_name", "email", "phone")},
    },
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = ACCOUNT_LOGOUT_REDIRECT_URL = "/"
PLACE_HEADER = env.text("PLACE_HEADER")
_WEEK = 7 * 86_400
SESSION_COOKIE_AGE = HEADLESS_JWT_REFRESH_TOKEN_EXPIRES_IN = _WEEK
SESSION_SERIALIZER = "accounts.sealed.Sessions"

# What allauth does (docs/sign-in.md). What it could send or keep as a code is ours: accounts.services.
ACCOUNT_ADAPTER = "accounts.adapters.Account"
ACCOUNT_LOGIN_METHODS = {"username"}  # which accounts.backends takes for a phone number or an e-mail address too
ACCOUNT_SIGNUP_FIELDS = ["username*", "password1*"]
ACCOUNT_SIGNUP_ENABLED = False
ACCOUNT_EMAIL_VERIFICATION = "none"
ACCOUNT_SESSION_REMEMBER = True
ACCOUNT_RATE_LIMITS = MFA_RATE_LIMITS = False  # they fail without the cache: accounts.adapters and the lock limit
SIGN_IN_LIMITS = {"name": 10, "address": 300}  # attempts a minute; thousands of phones share an address of a network
ACCOUNT_FORMS = {
    "login": "accounts.forms.SignIn",
    "reauthenticate": "accounts.forms.PasswordAgain",
    "change_password": "accounts.forms.NewPassword",
}
MFA_ADAPTER = "accounts.adapters.SecondFactor"
MFA_FORMS = {
    "authenticate": "accounts.forms.Code",
    "reauthenticate": "accounts.forms.CodeAgain",
    "activate_totp": "accounts.forms.FirstCode",
    "add_webauthn": "accounts.forms.NewKey",
    "authenticate_webauthn": "accounts.forms.Key",
    "reauthenticate_webauthn": "accounts.forms.KeyAgain",
}
MFA_SUPPORTED_TYPES = ["totp", "webauthn", "recovery_codes"]
MFA_TOTP_ISSUER = "YEA Poultry"
MFA_TOTP_TOLERANCE = 1  # steps of 30 seconds before and after
MFA_RECOVERY_CODE_DIGITS = 16  # 53 random bits
MFA_RECOVERY_CODES_SHOW_ONCE = True
MFA_WEBAUTHN_ALLOW_INSECURE_ORIGIN = DEVELOPMENT
HEADLESS_CLIENTS = ["app"]  # browsers have the pages
HEADLESS_TOKEN_STRATEGY = "allauth.headless.tokens.strategies.jwt.JWTTokenStrategy"  # noqa: S105 - a name
HEADLESS_JWT_ALGORITHM = "HS256"
HEADLESS_JWT_PRIVATE_KEY = hashlib.sha256(f"pms access tokens {SECRET_KEY}".encode()).hexdigest()
HEADLESS_JWT_ACCESS_TOKEN_EXPIRES_IN = 3_600
HEADLESS_JWT_STATEFUL_VALIDATION_ENABLED = True  # a session that ended, a suspension, a raised token_version end it

# --- The API -------------------------------------------------------------------------------------------------------
PROXIES = env.number("PROXIES", 0 if DEVELOPMENT else 1, minimum=0, maximum=10)
API_LIMITS = {"person": 300, "stranger": 60, "address": 3_000, "door": 30, "account": 5}  # requests a minute
REST_FRAMEWORK = {
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["core.api.parsing.JSONParser"],
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "core.api.sessions.Session",
        "allauth.headless.contrib.rest_framework.authentication.JWTTokenAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": [
        "rest_framework.permissions.IsAuthenticated",
        "accounts.api.permissions.SecondFactorFirst",
    ],
    "DEFAULT_THROTTLE_CLASSES": [
        "core.api.throttles.AddressLimit",
        "core.api.throttles.PersonLimit",
        "core.api.throttles.StrangerLimit",
    ],
    "DEFAULT_PAGINATION_CLASS": "core.api.pages.Pages",
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "DEFAULT_METADATA_CLASS": None,
    "EXCEPTION_HANDLER": "core.api.errors.handle",
    "NUM_PROXIES": PROXIES,
    "URL_FORMAT_OVERRIDE": None,
    "UNICODE_JSON": False,  # half a character that was sent comes back escaped, where UTF-8 has no form for it
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "YEA Poultry Management System",
    "VERSION": "1",
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    # groups are folded: more than a hundred endpoints at once take seconds to draw
    "SWAGGER_UI_SETTINGS": {"deepLinking": True, "docExpansion": "none", "filter": True},
    "ENUM_NAME_OVERRIDES": {
        "Role": "accounts.rules.Role.choices",
        "RoleLevel": "accounts.api.serializers.ROLE_LEVELS",
        "GrantedCode": "accounts.rules.Code.choices",
        **{
            name: f"farms.rules.{name}.choices"
            for name in (
                *("AlertStatus", "ApplicationStatus", "BatchStatus", "Cause", "EnrollmentStatus", "FlockStatus"),
                *("InfrastructureStatus", "ReviewLevel", "ReviewStatus"),
            )
        },
    },
    "POSTPROCESSING_HOOKS": ["drf_spectacular.hooks.postprocess_schema_enums", "core.api.schema.describe_errors"],
}

# --- The phone network and the mail server -------------------------------------------------------------------------
SANDBOX_HTTP_PORT = env.number("SANDBOX_HTTP_PORT", 8025, minimum=1, maximum=65535)
SANDBOX_SMTP_PORT = env.number("SANDBOX_SMTP_PORT", 1025, minimum=1, maximum=65535)
_SANDBOX_API = f"http://127.0.0.1:{SANDBOX_HTTP_PORT}/v1/messages"
HUBTEL_BASE_URL = env.url(
    "HUBTEL_BASE_URL", _SANDBOX_API if DEVELOPMENT else "https://sms.hubtel.com/v1/messages", ("http", "https")
)
HUBTEL_CLIENT_ID = env.text("HUBTEL_CLIENT_ID", "sandbox" if DEVELOPMENT else "")
HUBTEL_CLIENT_SECRET = env.text("HUBTEL_CLIENT_SECRET", "sandbox" if DEVELOPMENT else "")
HUBTEL_SENDER = env.require(
    "HUBTEL_SENDER",
    env.text("HUBTEL_SENDER", "YEA"),
    lambda sender: sender.isascii() and sender.isalnum() and len(sender) <= 11,  # noqa: PLR2004
    "set it to the approved sender name: 1 to 11 letters and digits",
)
HUBTEL_RECEIPT_TOKEN = env.require(
    "HUBTEL_RECEIPT_TOKEN",
    env.text("HUBTEL_RECEIPT_TOKEN"),
    lambda token: bool(re.fullmatch(r"([0-9A-Za-z_-]{32,})?", token)),
    "set it to 32 or more random letters and digits, or leave it empty so that nothing is pushed",
)
HUBTEL_TIMEOUT_SECONDS = env.number("HUBTEL_TIMEOUT_SECONDS", 10, minimum=1, maximum=30)
SMS_MAX_PARTS = env.number("SMS_MAX_PARTS", 6, minimum=1, maximum=10)
SENDING_WINDOWS = not DEVELOPMENT  # domain.md 4.6.3: open all day in development
EMAIL_HOST = env.text("EMAIL_HOST", "127.0.0.1" if DEVELOPMENT else "")
EMAIL_PORT = env.number("EMAIL_PORT", SANDBOX_SMTP_PORT if DEVELOPMENT else 587, minimum=1, maximum=65535)
EMAIL_HOST_USER = env.text("EMAIL_HOST_USER")
EMAIL_HOST_PASSWORD = env.text("EMAIL_HOST_PASSWORD")
EMAIL_USE_TLS = env.flag("EMAIL_USE_TLS", not DEVELOPMENT)  # STARTTLS
EMAIL_USE_SSL = env.flag("EMAIL_USE_SSL", False)
EMAIL_TIMEOUT = env.number("EMAIL_TIMEOUT", 10, minimum=1, maximum=10)
DEFAULT_FROM_EMAIL = env.text("DEFAULT_FROM_EMAIL", "YEA Poultry <no-reply@yea.example>" if DEVELOPMENT else "")
EMAIL_BOUNCE_ADDRESS = env.require(
    "EMAIL_BOUNCE_ADDRESS",
    env.text("EMAIL_BOUNCE_ADDRESS"),
    lambda address: not address or bool(re.fullmatch(r"[a-z0-9._-]{1,20}@[a-z0-9-]+(?:\.[a-z0-9-]+)*", address)),
    "set it to a mailbox such as bounces@mail.example, at most 20 signs before the @, or leave it empty",
)

# --- Static files --------------------------------------------------------------------------------------------------
STATIC_URL = "static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
        if DEVELOPMENT
        else "whitenoise.storage.CompressedManifestStaticFilesStorage"
    },
}
MEDIA_ROOT = env.text("MEDIA_ROOT") or str(BASE_DIR / "var" / "files")  # private: no address leads there
WHITENOISE_USE_FINDERS = DEVELOPMENT
if DEVELOPMENT:  # nothing is collected there, and whitenoise need not say so
    warnings.filterwarnings("ignore", message="No directory at", category=UserWarning)

# --- Safety behind nginx (production only: development speaks plain HTTP on loopback) -------------------------------
SECURE_SSL_REDIRECT = not DEVELOPMENT
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
SECURE_REDIRECT_EXEMPT = [r"^healthz$", r"^readyz$"]  # asked for over plain HTTP by the machine itself
SECURE_HSTS_SECONDS = 0 if DEVELOPMENT else 31_536_000
SECURE_HSTS_INCLUDE_SUBDOMAINS = not DEVELOPMENT
SECURE_HSTS_PRELOAD = not DEVELOPMENT
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = not DEVELOPMENT
SESSION_COOKIE_HTTPONLY = CSRF_COOKIE_HTTPONLY = True
if not DEVELOPMENT:  # browsers take such names over HTTPS alone, and from this host alone
    SESSION_COOKIE_NAME, CSRF_COOKIE_NAME = "__Host-sessionid", "__Host-csrftoken"
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"

# --- Logs ----------------------------------------------------------------------------------------------------------
LOG_LEVEL = env.choice("LOG_LEVEL", "INFO", {"DEBUG", "INFO", "WARNING", "ERROR"})
LOG_FORMAT = env.choice("LOG_FORMAT", "console" if DEVELOPMENT else "json", {"console", "json"})
LOGGING_CONFIG = None  # core.logs sets logging up, here and in the workers alike
logs.configure(level=LOG_LEVEL, as_json=LOG_FORMAT == "json")
DJANGO_STRUCTLOG_COMMAND_LOGGING_ENABLED = False
DJANGO_STRUCTLOG_IP_LOGGING_ENABLED = False  # an address is personal data (domain.md 1.2)
