import warnings

from django.apps import AppConfig

# Python warns of these when it compiles backtrader for the first time.
warnings.filterwarnings("ignore", "invalid escape sequence", SyntaxWarning)


class BacktestsConfig(AppConfig):
    name = "backtests"
