"""A universe of 80,000 markets with titles of many words, some of which are in all of them."""

from django.db import connection

from benchmarks.measure import chunks, tickers
from benchmarks.recording import store_markets
from markets.models import Event, EventSearchText, Market, MarketSearchText

MARKETS = 80_000
# Every title has these, so that a search for all of them finds every market.
COMMON = "will highest reported value before settlement station close"
PLACES = """
    Austin Boston Chicago Dallas Denver Houston Miami Minneapolis Nashville Oakland Philadelphia
    Phoenix Portland Sacramento Seattle Toronto Vancouver Łódź Málaga München Zürich Bogotá
"""
THINGS = """
    temperature rainfall snowfall unemployment inflation turnout attendance viewership payrolls
    gasoline wheat copper bitcoin ethereum touchdowns rebounds assists strikeouts goals streams
    downloads approval seats nominations deliveries launches
"""
# A few digits stand for what tells thousands of titles apart, such as dates and names.
TITLES = """
    UPDATE markets_event SET title = 'Will the highest reported '
        || (%(things)s::text[])[1 + id %% cardinality(%(things)s::text[])] || ' of '
        || (%(places)s::text[])[1 + id / 7 %% cardinality(%(places)s::text[])]
        || ' be settled at the value of station ' || substr(md5(id::text), 1, 4) || '?'
"""
OUTCOMES = """
    UPDATE markets_market SET title = 'Will it close before settlement?',
        yes_sub_title = id % 97 || '° or above on ' || substr(md5((3 * id)::text), 1, 5),
        volume_24h = id * 7919 % 100003,
        status = (ARRAY['active', 'active', 'closed', 'finalized'])[1 + id % 4]
"""
CATEGORIES = """
    UPDATE markets_series SET fee_type = 'quadratic',
        category = (ARRAY['Climate', 'Economics', 'Politics', 'Sports'])[1 + id % 4]
"""


def create(markets: int = MARKETS) -> None:
    for chunk in chunks(tickers(markets), 4_000):
        store_markets(chunk)
    with connection.cursor() as cursor:
        cursor.execute(TITLES, {"things": THINGS.split(), "places": PLACES.split()})
        cursor.execute(OUTCOMES)
        cursor.execute(CATEGORIES)
    EventSearchText.objects.refresh(Event.objects.values_list("pk", flat=True))
    MarketSearchText.objects.refresh(Market.objects.values_list("pk", flat=True))
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
