from django.urls import path

from backtests import views

app_name = "backtests"
urlpatterns = [
    path("", views.backtest_list, name="list"),
    path("new/", views.backtest_new, name="new"),
    path("<int:id>/", views.backtest_detail, name="detail"),
    path("<int:id>/cancel/", views.backtest_cancel, name="cancel"),
]
