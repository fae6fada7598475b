"""Names of cities, teams, people and works. The people and works are invented."""

from __future__ import annotations

Named = tuple[str, str]

# Each row is a code, a name and the mean daily high over a year in degrees Fahrenheit.
CITIES: tuple[tuple[str, str, int], ...] = (
    ("NY", "New York City", 62),
    ("CHI", "Chicago", 59),
    ("MIA", "Miami", 84),
    ("AUS", "Austin", 80),
    ("DEN", "Denver", 65),
    ("LAX", "Los Angeles", 72),
    ("PHIL", "Philadelphia", 64),
    ("BOS", "Boston", 59),
    ("SEA", "Seattle", 60),
    ("HOU", "Houston", 80),
    ("ATL", "Atlanta", 72),
    ("DC", "Washington", 66),
    ("SFO", "San Francisco", 64),
    ("PHX", "Phoenix", 87),
    ("LV", "Las Vegas", 80),
    ("DAL", "Dallas", 77),
    ("MIN", "Minneapolis", 55),
    ("NOLA", "New Orleans", 78),
    ("OKC", "Oklahoma City", 72),
    ("SATX", "San Antonio", 81),
    ("DET", "Detroit", 58),
    ("CLT", "Charlotte", 71),
    ("TPA", "Tampa", 82),
    ("SLC", "Salt Lake City", 63),
)


def _pairs(text: str) -> tuple[Named, ...]:
    return tuple((word.split(":")[0], word.split(":")[1]) for word in text.split(","))


BASEBALL = _pairs(
    "NYY:New York Y,BOS:Boston,TB:Tampa Bay,TOR:Toronto,BAL:Baltimore,CLE:Cleveland,DET:Detroit,"
    "KC:Kansas City,MIN:Minnesota,CWS:Chicago WS,HOU:Houston,SEA:Seattle,TEX:Texas,"
    "LAA:Los Angeles A,ATH:Athletics,NYM:New York M,PHI:Philadelphia,ATL:Atlanta,MIA:Miami,"
    "WSH:Washington,CHC:Chicago C,MIL:Milwaukee,STL:St. Louis,CIN:Cincinnati,PIT:Pittsburgh,"
    "LAD:Los Angeles D,SD:San Diego,SF:San Francisco,AZ:Arizona,COL:Colorado"
)
FOOTBALL = _pairs(
    "BUF:Buffalo,MIA:Miami,NE:New England,NYJ:New York J,BAL:Baltimore,CIN:Cincinnati,"
    "CLE:Cleveland,PIT:Pittsburgh,HOU:Houston,IND:Indianapolis,JAC:Jacksonville,TEN:Tennessee,"
    "DEN:Denver,KC:Kansas City,LV:Las Vegas,LAC:Los Angeles C,DAL:Dallas,NYG:New York G,"
    "PHI:Philadelphia,WAS:Washington,CHI:Chicago,DET:Detroit,GB:Green Bay,MIN:Minnesota,"
    "ATL:Atlanta,CAR:Carolina,NO:New Orleans,TB:Tampa Bay,ARI:Arizona,LA:Los Angeles R,"
    "SF:San Francisco,SEA:Seattle"
)
BASKETBALL = _pairs(
    "BOS:Boston,BKN:Brooklyn,NYK:New York,PHI:Philadelphia,TOR:Toronto,CHI:Chicago,CLE:Cleveland,"
    "DET:Detroit,IND:Indiana,MIL:Milwaukee,ATL:Atlanta,CHA:Charlotte,MIA:Miami,ORL:Orlando,"
    "WAS:Washington,DEN:Denver,MIN:Minnesota,OKC:Oklahoma City,POR:Portland,UTA:Utah,"
    "GSW:Golden State,LAC:Los Angeles C,LAL:Los Angeles L,PHX:Phoenix,SAC:Sacramento,DAL:Dallas,"
    "HOU:Houston,MEM:Memphis,NOP:New Orleans,SAS:San Antonio"
)

_GIVEN = (
    "Aron",
    "Bela",
    "Cyril",
    "Dario",
    "Emil",
    "Falk",
    "Goran",
    "Henk",
    "Ivo",
    "Jaro",
    "Kuno",
    "Lars",
    "Milo",
    "Nils",
    "Oto",
    "Piet",
)
_FAMILY = (
    "Abernau",
    "Bostwick",
    "Calderin",
    "Dunmoor",
    "Elvasson",
    "Farkway",
    "Grellan",
    "Hartzog",
    "Iverley",
    "Jandris",
    "Kolbeck",
    "Lindaro",
    "Morvane",
    "Nesterly",
    "Ostrand",
    "Pellgrin",
    "Quenby",
    "Rastovic",
    "Sundarel",
    "Tolliver",
    "Ulbrecht",
    "Vancastle",
    "Wexmoor",
    "Yarbrick",
    "Zelenik",
)
# 400 people, each with a unique code.
PEOPLE: tuple[Named, ...] = tuple(
    (f"{given[:2]}{family[:5]}".upper(), f"{given} {family}")
    for family in _FAMILY
    for given in _GIVEN
)
TENNIS = PEOPLE[::6][:64]

STATES = _pairs(
    "AZ:Arizona,CA:California,CO:Colorado,FL:Florida,GA:Georgia,IA:Iowa,IL:Illinois,KS:Kansas,"
    "ME:Maine,MI:Michigan,MN:Minnesota,MT:Montana,NC:North Carolina,NE:Nebraska,NH:New Hampshire,"
    "NJ:New Jersey,NM:New Mexico,NV:Nevada,NY:New York,OH:Ohio,OR:Oregon,PA:Pennsylvania,"
    "TX:Texas,VA:Virginia,WI:Wisconsin"
)
DISTRICTS: tuple[Named, ...] = tuple(
    (f"{code}{i}", f"{name}'s district {i}") for code, name in STATES for i in range(1, 15)
)
PARTIES: tuple[Named, ...] = (("D", "Democratic party"), ("R", "Republican party"))
RATES: tuple[Named, ...] = (
    ("C26", "Cut of more than 25 basis points"),
    ("C25", "Cut of 25 basis points"),
    ("H0", "No change"),
    ("H25", "Hike of 25 basis points"),
    ("H26", "Hike of more than 25 basis points"),
)
FILMS = _pairs(
    "GLASS:The Glass Orchard,NORTH:North of Midnight,SALT:Salt and Signal,LANT:The Last Lantern,"
    "PAPER:Paper Generals,HOLLOW:Hollow Season,MERID:Meridian,TIDE:The Slow Tide,"
    "ECHO:Echo Park Two,CROWN:A Crown of Rust,WOLF:The Winter Wolf,GAME:Game of Kites,"
    "RIVER:River Without Name,STATION:Station Eleven Hundred,DUST:Dust Opera,MIRROR:Mirror Street"
)
SONGS = _pairs(
    "AMB:Amber Lights,BLUE:Blue Motel,CALL:Call Me Tomorrow,DRIVE:Drive Slow,EASY:Easy Weather,"
    "FEVER:Fever Season,GOLD:Gold Teeth,HALO:Half a Halo,INK:Ink,JUNE:June Again,KITE:Kite Strings,"
    "LOUD:Louder,MOON:Moonlit Parade,NEON:Neon Garden,OCEAN:Ocean Radio,PRISM:Prism"
)
PRIZES: tuple[Named, ...] = tuple(
    (f"{code}{i}", f"{name}, class {i}")
    for code, name in (("ACT", "Best performance"), ("DIR", "Best direction"), ("SNG", "Best song"))
    for i in range(1, 15)
)
SPORTS = _pairs("B:baseball,F:football,K:basketball")
STATISTICS: tuple[tuple[str, str, int], ...] = (
    ("PTS", "points", 420),
    ("AST", "assists", 110),
    ("REB", "rebounds", 160),
    ("YDS", "yards", 610),
    ("HITS", "hits", 40),
    ("KS", "strikeouts", 62),
    ("ACES", "aces", 90),
    ("GOALS", "goals", 18),
)
