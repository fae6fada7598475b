from django.urls import path, register_converter
from django.urls.converters import StringConverter

from markets import event_views, views


class RecordedTicker(StringConverter):
    """Any text, so that a ticker which was recorded before tickers were checked has its pages."""

    regex = r"[\s\S]+"


register_converter(RecordedTicker, "ticker")

app_name = "markets"
urlpatterns = [
    path("", views.overview, name="overview"),
    path("markets/", views.market_list, name="list"),
    path("markets/<ticker:ticker>/chart.json", views.market_chart, name="chart"),
    path("markets/<ticker:ticker>/", views.market_detail, name="detail"),
    path("events/<ticker:ticker>/chart.json", event_views.event_chart, name="event_chart"),
    path("events/<ticker:ticker>/", event_views.event_detail, name="event"),
    path("calibration/", views.calibration, name="calibration"),
    path("recorder/", views.recorder, name="recorder"),
]
