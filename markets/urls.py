from django.urls import path
from django.views.generic import RedirectView

from markets import views

app_name = "markets"
urlpatterns = [
    path("", RedirectView.as_view(pattern_name="markets:list"), name="home"),
    path("markets/", views.market_list, name="list"),
    path("markets/<str:ticker>/chart.json", views.market_chart, name="chart"),
    path("markets/<str:ticker>/", views.market_detail, name="detail"),
    path("recorder/", views.recorder, name="recorder"),
]
