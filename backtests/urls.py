from django.urls import path

from backtests import search_views, views

app_name = "backtests"
urlpatterns = [
    path("", views.backtest_list, name="list"),
    path("new/", views.backtest_new, name="new"),
    path("searches/", search_views.search_list, name="searches"),
    path("searches/new/", search_views.search_new, name="search_new"),
    path("searches/<int:id>/", search_views.search_detail, name="search"),
    path("searches/<int:id>/cancel/", search_views.search_cancel, name="search_cancel"),
    path("searches/<int:id>/resume/", search_views.search_resume, name="search_resume"),
    path("<int:id>/", views.backtest_detail, name="detail"),
    path("<int:id>/cancel/", views.backtest_cancel, name="cancel"),
]
