import warnings

from django.apps import AppConfig

# Of backtrader, where Python compiles it for the first time.
warnings.filterwarnings("ignore", "invalid escape sequence", SyntaxWarning)


class BacktestsConfig(AppConfig):
    name = "backtests"
