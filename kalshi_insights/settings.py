"""The settings of the project. Only this module reads the environment.

A wrong value stops the program at its start with a message that names the variable. Where
`DATABASE_URL` or `REDIS_URL` is unset, `kalshi_insights.embedded` starts PostgreSQL or Valkey and
sets the variable before Django loads.
"""

import os
import re
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import environ
import structlog
from django.core.exceptions import ImproperlyConfigured

from kalshi_insights.processes.connections import POSTGRES_OPTIONS, redis_options
from kalshi_insights.processes.session_limits import UNHURRIED

BASE_DIR = Path(__file__).resolve().parent.parent

env = environ.Env()
if (BASE_DIR / ".env").exists():
    environ.Env.read_env(BASE_DIR / ".env")


def _required(name: str) -> str:
    value: str = env.str(name, default="")
    if not value:
        raise ImproperlyConfigured(
            f"{name} is not set. Set it, or start this command through manage.py or"
            " `python -m kalshi_insights.embedded`, which start their own services."
        )
    return value


def _service(name: str, *schemes: str, read: Callable[[str], Any]) -> Any:
    """Check an address and convert it by `read`; its errors name the variable, not its value."""
    value = _required(name)
    if value.partition("://")[0] not in schemes:
        among = ", ".join(f"{scheme}://" for scheme in schemes)
        raise ImproperlyConfigured(f"{name} must be an address that begins with one of {among}.")
    try:
        return read(value)
    except ValueError:
        raise ImproperlyConfigured(f"{name} must be an address that can be read.") from None


def _number(name: str, default: float, *, minimum: float, maximum: float) -> float:
    text = env.str(name, default=str(default))
    try:
        value = float(text)
    except ValueError:
        raise ImproperlyConfigured(f"{name} must be a number, not {text!r}.") from None
    if not minimum <= value <= maximum:
        raise ImproperlyConfigured(
            f"{name} must lie between {minimum:g} and {maximum:g}, not {text}."
        )
    return value


def _flag(name: str, default: bool) -> bool:
    text = env.str(name, default=str(default)).strip().lower()
    if text in ("1", "true", "yes", "on"):
        return True
    if text in ("0", "false", "no", "off", ""):
        return False
    raise ImproperlyConfigured(f"{name} must be true or false, not {text!r}.")


def _choice(name: str, default: str, *, among: tuple[str, ...]) -> str:
    value: str = env.str(name, default=default)
    if value not in among:
        raise ImproperlyConfigured(f"{name} must be one of {', '.join(among)}, not {value!r}.")
    return value


def _http_url(name: str, default: str) -> str:
    value: str = env.str(name, default=default).rstrip("/")
    if not value.startswith(("https://", "http://")):
        raise ImproperlyConfigured(f"{name} must be an http(s) address, not {value!r}.")
    return value


# The parts of an address of object storage that pyarrow reads from its query.
_STORAGE_OPTIONS = {
    "s3": {"endpoint_override", "region", "scheme"},
    "gs": {"endpoint_override", "scheme"},
}


def _archive_place(name: str, *, default: Path) -> Path | str:
    """Read a folder, or the address of one in object storage; errors name the variable alone."""
    value: str = env.str(name, default="") or str(default)
    if "://" not in value:
        return Path(value)
    try:
        address = urlsplit(value)
        options = parse_qs(address.query, keep_blank_values=True)
    except ValueError:
        raise ImproperlyConfigured(f"{name} must be an address that can be read.") from None
    if address.scheme not in _STORAGE_OPTIONS or not address.netloc:
        raise ImproperlyConfigured(
            f"{name} must be a folder or an address such as s3://bucket/folder or gs://bucket."
        )
    if "@" in value:
        raise ImproperlyConfigured(
            f"{name} must not have a key in it: object storage takes it from the environment, such"
            " as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or GOOGLE_APPLICATION_CREDENTIALS."
        )
    known = _STORAGE_OPTIONS[address.scheme]
    if unknown := options.keys() - known:
        raise ImproperlyConfigured(
            f"{name} must have only {', '.join(sorted(known))} after its question mark, not"
            f" {', '.join(sorted(unknown))}."
        )
    return value


_PERIODS = {"s": 1, "min": 60, "h": 3_600, "day": 86_400}


def _rate(name: str, default: str) -> float | None:
    """Read a rate in requests a second; None where there is no limit."""
    text: str = env.str(name, default=default)
    if text == "none":
        return None
    match = re.fullmatch(r"([1-9][0-9]{0,8})/(s|min|h|day)", text)
    if not match:
        raise ImproperlyConfigured(
            f"{name} must be a number per s, min, h or day, such as 600/min, or none, not {text!r}."
        )
    return int(match[1]) / _PERIODS[match[2]]


def _names(name: str) -> frozenset[str]:
    """Read names with commas between them; none where it is unset."""
    names: list[str] = env.list(name, default=[])
    return frozenset(stripped for each in names if (stripped := each.strip()))


def _origins(name: str) -> list[str]:
    values: list[str] = env.list(name, default=[])
    for value in values:
        if not re.fullmatch(r"https?://[^/?#@\s]+", value):
            raise ImproperlyConfigured(
                f"{name} must list origins such as https://example.org, not {value!r}."
            )
    return values


# The first parts of the site's own addresses, which the admin's address must not hide.
OWN_ADDRESSES = (
    "accounts",
    "api",
    "backtests",
    "calibration",
    "events",
    "health",
    "markets",
    "recorder",
    "series",
    "static",
)


def _admin_url(name: str, default: str) -> str:
    value: str = env.str(name, default=default).strip("/")
    path = re.fullmatch(r"([A-Za-z0-9_-]+)(/[A-Za-z0-9_-]+)*", value)
    if not path or path[1] in OWN_ADDRESSES:
        raise ImproperlyConfigured(
            f"{name} must be a path such as back-office/ that is not one of the site's own"
            f" ({', '.join(OWN_ADDRESSES)}), not {value!r}."
        )
    return f"{value}/"


# --- The installation ---------------------------------------------------------------------------

ENVIRONMENT = _choice("ENVIRONMENT", "development", among=("development", "staging", "production"))
DEBUG = _flag("DEBUG", default=ENVIRONMENT == "development")
SECRET_KEY = env.str("SECRET_KEY", default="for development only, not secret" if DEBUG else "")
if not SECRET_KEY:
    raise ImproperlyConfigured("SECRET_KEY must be set where DEBUG is false.")
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["localhost", "127.0.0.1", "[::1]"])
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[])
TRUSTED_PROXIES = int(_number("TRUSTED_PROXIES", 0, minimum=0, maximum=10))
ADMIN_URL = _admin_url("ADMIN_URL", "admin/")

# --- Mail -----------------------------------------------------------------------------------------

# Without a server there is no mail, and nobody can reset a forgotten password by it.
EMAIL_URL = env.str("EMAIL_URL", default="")
DEFAULT_FROM_EMAIL = env.str("EMAIL_FROM", default="")
EMAIL_TIMEOUT = 10
if EMAIL_URL:
    _MAIL = _service(
        "EMAIL_URL", "smtp", "smtp+tls", "smtp+ssl", "consolemail", read=env.email_url_config
    )
    EMAIL_BACKEND = _MAIL["EMAIL_BACKEND"]
    EMAIL_HOST = _MAIL["EMAIL_HOST"] or "localhost"
    EMAIL_HOST_USER = _MAIL["EMAIL_HOST_USER"] or ""
    EMAIL_HOST_PASSWORD = _MAIL["EMAIL_HOST_PASSWORD"] or ""
    EMAIL_USE_TLS = _MAIL.get("EMAIL_USE_TLS", False)
    EMAIL_USE_SSL = _MAIL.get("EMAIL_USE_SSL", False)
    EMAIL_PORT = _MAIL["EMAIL_PORT"] or (587 if EMAIL_USE_TLS else 465 if EMAIL_USE_SSL else 25)
    if not re.fullmatch(r"[^@]+@[^@]+", DEFAULT_FROM_EMAIL):
        raise ImproperlyConfigured("EMAIL_FROM must be an address where EMAIL_URL is set.")

# --- The exchange -------------------------------------------------------------------------------

# The C library would wait half a minute for silent name servers, and no timeout of ours ends that.
os.environ.setdefault("RES_OPTIONS", "timeout:2 attempts:2")

KALSHI_API_URL = _http_url("KALSHI_API_URL", "https://external-api.kalshi.com/trade-api/v2")
KALSHI_API_KEY_ID = env.str("KALSHI_API_KEY_ID", default="")
KALSHI_PRIVATE_KEY_PATH = env.str("KALSHI_PRIVATE_KEY_PATH", default="")
if bool(KALSHI_API_KEY_ID) != bool(KALSHI_PRIVATE_KEY_PATH):
    missing = "KALSHI_PRIVATE_KEY_PATH" if KALSHI_API_KEY_ID else "KALSHI_API_KEY_ID"
    raise ImproperlyConfigured(f"{missing} must be set too: a key needs its id and its file.")
if KALSHI_PRIVATE_KEY_PATH:
    # Imported here, since loading them takes time that is wasted without a key.
    from markets.kalshi.errors import ConfigurationError
    from markets.kalshi.signing import Signer

    try:
        Signer.from_file(KALSHI_API_KEY_ID, KALSHI_PRIVATE_KEY_PATH)
    except ConfigurationError as fault:
        raise ImproperlyConfigured(
            f"KALSHI_PRIVATE_KEY_PATH and KALSHI_API_KEY_ID must make a key: {fault}."
        ) from None
KALSHI_RATE = _number(
    "KALSHI_RATE", 180 if KALSHI_API_KEY_ID else 60, minimum=10, maximum=1_000_000
)
# Data from the simulator are labelled as simulated wherever they are shown.
SIMULATED = _flag("SIMULATED", default=False)

# --- The recorder -------------------------------------------------------------------------------

POLL_INTERVAL = _number("POLL_INTERVAL", 5, minimum=0.2, maximum=3600)
HOT_MARKETS = int(_number("HOT_MARKETS", 500, minimum=0, maximum=10_000))
UNIVERSE_INTERVAL = _number("UNIVERSE_INTERVAL", 30, minimum=1, maximum=86_400)
HOT_HEARTBEAT = _number("HOT_HEARTBEAT", 300, minimum=1, maximum=86_400)
HEARTBEAT = _number("HEARTBEAT", 3600, minimum=1, maximum=86_400)
# The number of hot markets whose order books are recorded, within the same rate of tokens.
ORDER_BOOK_MARKETS = int(_number("ORDER_BOOK_MARKETS", 50, minimum=0, maximum=10_000))
RECORD_COMBOS = _flag("RECORD_COMBOS", default=False)
# The markets whose trades are recorded; and, where set, the only series that are recorded at all.
RECORD_TRADES = _choice("RECORD_TRADES", "all", among=("all", "hot", "none"))
RECORD_SERIES = _names("RECORD_SERIES")
RECORD_CATEGORIES = _names("RECORD_CATEGORIES")

# --- The processes ------------------------------------------------------------------------------

# Where the processes give signs of life to whoever watches them; unset: nowhere.
PULSE_PATH = Path(_pulses) if (_pulses := env.str("PULSE_PATH", default="")) else None

# --- Retention ----------------------------------------------------------------------------------

RETENTION_DAYS = int(_number("RETENTION_DAYS", 0, minimum=0, maximum=36_500))
TRADE_RETENTION_DAYS = int(_number("TRADE_RETENTION_DAYS", 0, minimum=0, maximum=36_500))
RAW_PAYLOAD_HOURS = _number("RAW_PAYLOAD_HOURS", 6, minimum=0, maximum=8_760)
_ARCHIVE = BASE_DIR / "var" / ("archive-simulated" if SIMULATED else "archive")
ARCHIVE_PATH = _archive_place("ARCHIVE_PATH", default=_ARCHIVE)

# --- Backtests ----------------------------------------------------------------------------------

# A run that takes longer than this fails.
BACKTEST_SECONDS = int(_number("BACKTEST_SECONDS", 900, minimum=1, maximum=86_400))
# The folder of strategies of one's own.
STRATEGIES_PATH = Path(
    os.path.normpath(BASE_DIR / (env.str("STRATEGIES_PATH", default="") or "var/strategies"))
)
if BASE_DIR.is_relative_to(STRATEGIES_PATH):
    raise ImproperlyConfigured("STRATEGIES_PATH must be a folder without the program in it.")

# --- Django -------------------------------------------------------------------------------------

INSTALLED_APPS = [
    # Without looking for the apps' admin pages: only the site needs them, and its URLs do that.
    "django.contrib.admin.apps.SimpleAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    # Before staticfiles, whose development server would send static files past the middleware.
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "django.contrib.postgres",
    "allauth",
    "allauth.account",
    "axes",
    "rest_framework",
    "knox",
    "corsheaders",
    "django_filters",
    "django_htmx",
    "template_partials",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django_extensions",
    "django_structlog",
    "accounts",
    "markets",
    "backtests",
]

MIDDLEWARE = [
    "kalshi_insights.middleware.request_id.request_id",
    "kalshi_insights.middleware.proxies.trusted_proxies",
    "django.middleware.security.SecurityMiddleware",
    "corsheaders.middleware.CorsMiddleware",
    "kalshi_insights.middleware.compression.compress",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "kalshi_insights.middleware.csp.content_security_policy",
    "kalshi_insights.rest.errors.api_envelopes",
    "kalshi_insights.middleware.plain_text.refuse_unreadable",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "kalshi_insights.middleware.page_rate.limit_pages",
    "kalshi_insights.middleware.statement_timeout.PageStatementTimeout",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "django_structlog.middlewares.RequestMiddleware",
    "axes.middleware.AxesMiddleware",
]

ROOT_URLCONF = "kalshi_insights.urls"
WSGI_APPLICATION = "kalshi_insights.wsgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

_DATABASE = _service("DATABASE_URL", "postgres", "postgresql", read=env.db_url_config)
# What the address itself says comes last, and counts.
_ADDRESS_OPTIONS = _DATABASE.get("OPTIONS", {})
_SESSION_OPTIONS = f"{UNHURRIED.options} {_ADDRESS_OPTIONS.get('options', '')}".rstrip()
DATABASES: dict[str, Any] = {
    "default": {
        **_DATABASE,
        "CONN_MAX_AGE": 60,
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": {**POSTGRES_OPTIONS, **_ADDRESS_OPTIONS, "options": _SESSION_OPTIONS},
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

REDIS_URL = _required("REDIS_URL")
# redis-py parses the address, so only its form is checked here.
_service("REDIS_URL", "redis", "rediss", "unix", read=lambda address: urlsplit(address).port)
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": REDIS_URL,
        "OPTIONS": redis_options(REDIS_URL),
    }
}

LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
USE_I18N = False
USE_TZ = True

STATIC_URL = "static/"
STATICFILES_DIRS = [BASE_DIR / "static"]
# In development static files come from the source folders and are compressed as they are asked for;
# else they are collected and compressed beforehand.
COLLECTS = ENVIRONMENT != "development"
STATIC_ROOT = BASE_DIR / "staticfiles" if COLLECTS else None
WHITENOISE_USE_FINDERS = not COLLECTS
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"
        if COLLECTS
        else "django.contrib.staticfiles.storage.StaticFilesStorage"
    },
}

DEFAULT_EXCEPTION_REPORTER_FILTER = "kalshi_insights.rest.errors.HideAddresses"

# --- Accounts -------------------------------------------------------------------------------------

LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "markets:list"
# axes refuses a locked user before the password is checked.
AUTHENTICATION_BACKENDS = [
    "axes.backends.AxesStandaloneBackend",
    "django.contrib.auth.backends.ModelBackend",
]
_VALIDATION = "django.contrib.auth.password_validation"
AUTH_PASSWORD_VALIDATORS: list[dict[str, Any]] = [
    {"NAME": f"{_VALIDATION}.UserAttributeSimilarityValidator"},
    {"NAME": f"{_VALIDATION}.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": f"{_VALIDATION}.CommonPasswordValidator"},
    {"NAME": f"{_VALIDATION}.NumericPasswordValidator"},
]

# Attempts by one address to sign in, to change a password or to reset one.
SIGN_IN_RATE = _rate("SIGN_IN_RATE", "none" if DEBUG else "30/min")
# So many failures of one user at one address lock that user at that address for so long. What is
# tried meanwhile does not make it longer.
AXES_FAILURE_LIMIT = 5
AXES_COOLOFF_TIME = timedelta(minutes=15)
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False
AXES_RESET_ON_SUCCESS = True
AXES_USERNAME_CALLABLE = "accounts.sign_in.lock_name"
AXES_CLIENT_IP_CALLABLE = "accounts.sign_in.lock_address"
AXES_LOCKOUT_CALLABLE = "accounts.sign_in.locked_page"
AXES_USERNAME_FORM_FIELD = "username"
AXES_VERBOSE = False
# Left out of what axes keeps and logs; a password always is.
AXES_SENSITIVE_PARAMETERS = ["csrfmiddlewaretoken"]

ACCOUNT_LOGIN_METHODS = {"username"}
ACCOUNT_EMAIL_VERIFICATION = "none"
ACCOUNT_EMAIL_SUBJECT_PREFIX = ""
ACCOUNT_SESSION_REMEMBER = True
ACCOUNT_LOGOUT_REDIRECT_URL = "markets:list"
ACCOUNT_FORMS = {
    "login": "accounts.forms.SignInForm",
    "change_password": "accounts.forms.ChangePasswordForm",
    "reset_password": "accounts.forms.ResetPasswordForm",
    "reset_password_from_key": "accounts.forms.NewPasswordForm",
}
# Its own limits would lock a user out everywhere for what somebody else tries somewhere.
ACCOUNT_RATE_LIMITS = False

KNOX_TOKEN_MODEL = "accounts.ApiToken"  # noqa: S105
# The prefix tells people and scanners of leaked secrets what they have found.
REST_KNOX = {"TOKEN_PREFIX": "kit_"}
# knox's own table, which another model stands for, is not made.
MIGRATION_MODULES = {"knox": None}

if TRUSTED_PROXIES:
    # kalshi_insights.middleware.proxies has put these headers there, and removed any others.
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    USE_X_FORWARDED_HOST = True
if ENVIRONMENT != "development":
    SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = _flag("SECURE_COOKIES", default=True)
# Without a proxy nothing here speaks HTTPS, so there is nowhere to redirect to.
SECURE_SSL_REDIRECT = HTTPS_ONLY = _flag(
    "HTTPS_ONLY", default=ENVIRONMENT != "development" and TRUSTED_PROXIES > 0
)
SECURE_HSTS_SECONDS = (
    int(_number("HSTS_SECONDS", 2_592_000, minimum=0, maximum=126_144_000)) if HTTPS_ONLY else 0
)
# Load balancers and containers ask for the health by plain HTTP.
SECURE_REDIRECT_EXEMPT = [r"^health$", r"^api/v1/health/$"]
# Other hosts of the domain, and the lists that browsers come with, are its owner's business; and
# where HTTPS_ONLY is false, that has been decided.
SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W021"]
if not HTTPS_ONLY:
    SILENCED_SYSTEM_CHECKS += ["security.W004", "security.W008"]
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"

# --- Celery -------------------------------------------------------------------------------------

CELERY_BROKER_URL = REDIS_URL
# Without intervals of their own, channels wait 2, 4, 6 … seconds for a broker that is away.
_RETRIES = {"interval_start": 0.2, "interval_step": 0, "interval_max": 0.2}
CELERY_BROKER_TRANSPORT_OPTIONS = {**redis_options(REDIS_URL), **_RETRIES}
# With the time that Redis may take for an answer, beat never waits for long.
CELERY_TASK_PUBLISH_RETRY_POLICY = {"max_retries": 1, "interval_start": 0, "interval_max": 0.2}
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_DEFAULT_QUEUE = "work"
CELERY_TASK_ROUTES = {
    "markets.tasks.poll_markets": {"queue": "recorder"},
    # Backtests take minutes, and nothing else should wait for them.
    "backtests.tasks.*": {"queue": "backtests"},
}
CELERY_TIMEZONE = "UTC"
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_WORKER_CANCEL_LONG_RUNNING_TASKS_ON_CONNECTION_LOSS = False
CELERY_BEAT_SCHEDULER = "kalshi_insights.processes.beat:SteadyScheduler"
# A task without a limit of its own is ended after this many seconds.
CELERY_TASK_TIME_LIMIT = 600
# Every task finds out in the database that it is not due, so a late message does nothing. Messages
# expire only so that they cannot pile up: by the clocks of two machines, which may differ.
_MESSAGES = {"expires": 300.0}
CELERY_BEAT_SCHEDULE = {
    "poll-markets": {
        "task": "markets.tasks.poll_markets",
        "schedule": POLL_INTERVAL,
        "options": _MESSAGES,
    },
    "refresh-reference": {
        "task": "markets.tasks.refresh_reference",
        # There is nearly always nothing to do, but a new series should get its name soon.
        "schedule": 15.0,
        "options": _MESSAGES,
    },
    "maintain": {"task": "markets.tasks.maintain", "schedule": 600.0, "options": _MESSAGES},
    "undo-imports": {
        "task": "markets.tasks.undo_imports",
        # Nearly always there is nothing to do; what was cut off goes on.
        "schedule": 60.0,
        "options": _MESSAGES,
    },
    "archive-days": {
        "task": "markets.tasks.archive_days",
        "schedule": 3600.0,
        "options": _MESSAGES,
    },
    "forget-sign-ins": {
        "task": "accounts.tasks.forget_sign_ins",
        "schedule": 3600.0,
        "options": _MESSAGES,
    },
    "pick-up-backtests": {
        "task": "backtests.tasks.pick_up_backtests",
        "schedule": 60.0,
        "options": _MESSAGES,
    },
}

# --- API ----------------------------------------------------------------------------------------

# In development there is no limit, so neither a developer nor the tests are slowed down.
API_RATE_ANONYMOUS = _rate("API_RATE_ANONYMOUS", "none" if DEBUG else "600/min")
API_RATE_TOKEN = _rate("API_RATE_TOKEN", "none" if DEBUG else "6000/min")

# Pages are counted apart from the API, and what open pages fetch by themselves apart from pages.
PAGE_RATE_ANONYMOUS = _rate("PAGE_RATE_ANONYMOUS", "none" if DEBUG else "300/min")
PAGE_RATE_ACCOUNT = _rate("PAGE_RATE_ACCOUNT", "none" if DEBUG else "600/min")
PAGE_RATE_REFRESHES = _rate("PAGE_RATE_REFRESHES", "none" if DEBUG else "1200/min")

# Pages of these origins may read the API with a token, but never with this site's cookies.
CORS_ALLOWED_ORIGINS = _origins("CORS_ORIGINS")
CORS_URLS_REGEX = r"^/api/"
CORS_ALLOW_METHODS = ("GET", "HEAD", "OPTIONS")
CORS_ALLOW_HEADERS = ("accept", "authorization", "if-none-match", "x-request-id")
CORS_EXPOSE_HEADERS = ("etag", "last-modified", "retry-after", "x-request-id")

# By then the header holds an id that kalshi_insights.middleware.request_id has checked or made.
DJANGO_STRUCTLOG_TRUST_UPSTREAM_REQUEST_ID = True
# It would believe headers that anybody can send; kalshi_insights.middleware.proxies logs addresses.
DJANGO_STRUCTLOG_IP_LOGGING_ENABLED = False

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "kalshi_insights.rest.authentication.ThrottledTokenAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_THROTTLE_CLASSES": ["kalshi_insights.rest.throttling.ApiRateThrottle"],
    # REMOTE_ADDR is the client's address already.
    "NUM_PROXIES": 0,
    "DEFAULT_RENDERER_CLASSES": [
        "rest_framework.renderers.JSONRenderer",
        "rest_framework.renderers.BrowsableAPIRenderer",
    ],
    "DEFAULT_PARSER_CLASSES": ["kalshi_insights.rest.parsers.JsonParser"],
    "DEFAULT_PERMISSION_CLASSES": [
        "rest_framework.permissions.IsAuthenticatedOrReadOnly",
        "kalshi_insights.rest.permissions.ScopedWrite",
    ],
    "DEFAULT_FILTER_BACKENDS": ["django_filters.rest_framework.DjangoFilterBackend"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "kalshi_insights.rest.errors.api_exception_handler",
    "UNAUTHENTICATED_USER": "django.contrib.auth.models.AnonymousUser",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Kalshi Insights API",
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "kalshi_insights.rest.schema.add_error_responses",
    ],
    "ENUM_NAME_OVERRIDES": {
        "TokenScope": "kalshi_insights.rest.permissions.Scope",
        "MarketStatus": "markets.models.Status",
        "BacktestStatus": "backtests.models.BacktestStatus",
        "RecordingStatus": "markets.coverage.freshness.STATES",
        "SourceEnum": "markets.models.Source",
        "TradeSource": "markets.models.trades.SOURCES",
        "StateEnum": "markets.api.candlesticks.STATES",
    },
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
}

# --- Notebooks ----------------------------------------------------------------------------------
NOTEBOOK_ARGUMENTS = ["--notebook-dir", str(BASE_DIR / "notebooks")]
IPYTHON_KERNEL_DISPLAY_NAME = "Kalshi Insights"
# Names that every notebook and `make shell` have beside the models.
SHELL_PLUS_IMPORTS = ["from datetime import UTC, datetime, timedelta"]
if "ipykernel" in sys.modules:
    # A kernel runs its cells inside an event loop, one after the other, so the ORM is safe there.
    os.environ.setdefault("DJANGO_ALLOW_ASYNC_UNSAFE", "true")

# --- Logs ---------------------------------------------------------------------------------------

LOG_LEVEL = _choice("LOG_LEVEL", "INFO", among=("DEBUG", "INFO", "WARNING", "ERROR"))
_SHARED: list[Any] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso"),
]
structlog.configure(
    processors=[
        *_SHARED,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.StackInfoRenderer(),
        structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
    ],
    logger_factory=structlog.stdlib.LoggerFactory(),
    cache_logger_on_first_use=True,
)
# Tracebacks never show the values of variables, which may be secret.
_RENDERERS: list[Any] = (
    [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    if ENVIRONMENT == "production"
    else [
        structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    ]
)
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {
            "()": structlog.stdlib.ProcessorFormatter,
            "processors": [
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *_RENDERERS,
            ],
            "foreign_pre_chain": _SHARED,
        }
    },
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["stderr"], "level": LOG_LEVEL},
    "loggers": {
        "httpx": {"level": "WARNING"},
        "httpcore": {"level": "WARNING"},
        "axes": {"level": "WARNING"},
        # It tells of its fonts whenever it has looked for them.
        "matplotlib": {"level": "WARNING"},
    },
}
