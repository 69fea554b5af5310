"""Names of time zones: which there are on this machine, and by which of its names each is stored.

The rules are those of the system (``/usr/share/zoneinfo``, which its updates keep up to date), and of the package
``tzdata`` for names that the system lacks: a slim image, the single file, and a system that keeps old names apart.

A zone that was renamed is stored by its present name, since Debian 13 has only these (old ones are in tzdata-legacy).
Which are old is written here, not asked of the machine, so that every machine stores the same. Zones that merely have
the same rules by now, such as Europe/Oslo and Europe/Berlin, stay apart: they are names of different places.
"""

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from zoneinfo import available_timezones

NO_ZONES = frozenset({"Factory", "localtime", "posixrules"})
"""Files among the zones that name none: each stands for whatever a machine is set to."""
ALWAYS = "UTC"
"""The zone that needs no data."""
EXAMPLE = "Europe/Oslo"
MAX_NAME = 64
"""Characters; the longest name has half as many."""

_RENAMED = """
Africa/Asmara: Africa/Asmera
Africa/Bamako: Africa/Timbuktu
Africa/Cairo: Egypt
Africa/Tripoli: Libya
America/Adak: America/Atka US/Aleutian
America/Anchorage: US/Alaska
America/Argentina/Buenos_Aires: America/Buenos_Aires
America/Argentina/Catamarca: America/Argentina/ComodRivadavia America/Catamarca
America/Argentina/Cordoba: America/Cordoba America/Rosario
America/Argentina/Jujuy: America/Jujuy
America/Argentina/Mendoza: America/Mendoza
America/Atikokan: America/Coral_Harbour
America/Chicago: CST6CDT US/Central
America/Denver: America/Shiprock MST7MDT Navajo US/Mountain
America/Detroit: US/Michigan
America/Edmonton: America/Yellowknife Canada/Mountain
America/Halifax: Canada/Atlantic
America/Havana: Cuba
America/Indiana/Indianapolis: America/Fort_Wayne America/Indianapolis US/East-Indiana
America/Indiana/Knox: America/Knox_IN US/Indiana-Starke
America/Iqaluit: America/Pangnirtung
America/Jamaica: Jamaica
America/Kentucky/Louisville: America/Louisville
America/Los_Angeles: PST8PDT US/Pacific
America/Manaus: Brazil/West
America/Mazatlan: Mexico/BajaSur
America/Mexico_City: Mexico/General
America/New_York: EST5EDT US/Eastern
America/Noronha: Brazil/DeNoronha
America/Nuuk: America/Godthab
America/Panama: EST
America/Phoenix: MST US/Arizona
America/Regina: Canada/Saskatchewan
America/Rio_Branco: America/Porto_Acre Brazil/Acre
America/Santiago: Chile/Continental
America/Sao_Paulo: Brazil/East
America/St_Johns: Canada/Newfoundland
America/St_Thomas: America/Virgin
America/Tijuana: America/Ensenada America/Santa_Isabel Mexico/BajaNorte
America/Toronto: America/Montreal America/Nipigon America/Thunder_Bay Canada/Eastern
America/Vancouver: Canada/Pacific
America/Whitehorse: Canada/Yukon
America/Winnipeg: America/Rainy_River Canada/Central
Antarctica/McMurdo: Antarctica/South_Pole
Asia/Ashgabat: Asia/Ashkhabad
Asia/Dhaka: Asia/Dacca
Asia/Ho_Chi_Minh: Asia/Saigon
Asia/Hong_Kong: Hongkong
Asia/Jerusalem: Asia/Tel_Aviv Israel
Asia/Kathmandu: Asia/Katmandu
Asia/Kolkata: Asia/Calcutta
Asia/Macau: Asia/Macao
Asia/Makassar: Asia/Ujung_Pandang
Asia/Nicosia: Europe/Nicosia
Asia/Seoul: ROK
Asia/Shanghai: Asia/Chongqing Asia/Chungking Asia/Harbin PRC
Asia/Singapore: Singapore
Asia/Taipei: ROC
Asia/Tehran: Iran
Asia/Thimphu: Asia/Thimbu
Asia/Tokyo: Japan
Asia/Ulaanbaatar: Asia/Choibalsan Asia/Ulan_Bator
Asia/Urumqi: Asia/Kashgar
Asia/Yangon: Asia/Rangoon
Atlantic/Faroe: Atlantic/Faeroe
Atlantic/Reykjavik: Iceland
Australia/Adelaide: Australia/South
Australia/Brisbane: Australia/Queensland
Australia/Broken_Hill: Australia/Yancowinna
Australia/Darwin: Australia/North
Australia/Hobart: Australia/Currie Australia/Tasmania
Australia/Lord_Howe: Australia/LHI
Australia/Melbourne: Australia/Victoria
Australia/Perth: Australia/West
Australia/Sydney: Australia/ACT Australia/Canberra Australia/NSW
Etc/GMT: Etc/GMT+0 Etc/GMT-0 Etc/GMT0 Etc/Greenwich GMT GMT+0 GMT-0 GMT0 Greenwich
Europe/Athens: EET
Europe/Brussels: CET MET
Europe/Chisinau: Europe/Tiraspol
Europe/Dublin: Eire
Europe/Istanbul: Asia/Istanbul Turkey
Europe/Kyiv: Europe/Kiev Europe/Uzhgorod Europe/Zaporozhye
Europe/Lisbon: Portugal WET
Europe/London: Europe/Belfast GB GB-Eire
Europe/Moscow: W-SU
Europe/Oslo: Atlantic/Jan_Mayen
Europe/Warsaw: Poland
Pacific/Auckland: NZ
Pacific/Chatham: NZ-CHAT
Pacific/Chuuk: Pacific/Truk Pacific/Yap
Pacific/Easter: Chile/EasterIsland
Pacific/Honolulu: HST Pacific/Johnston US/Hawaii
Pacific/Kanton: Pacific/Enderbury
Pacific/Kwajalein: Kwajalein
Pacific/Pago_Pago: Pacific/Samoa US/Samoa
Pacific/Pohnpei: Pacific/Ponape
UTC: Etc/UCT Etc/UTC Etc/Universal Etc/Zulu UCT Universal Zulu
"""
"""Each present name, and its old ones: those in ``backward`` of the time zone database that are not in ``zone.tab``."""


def _old_names() -> dict[str, str]:
    found: dict[str, str] = {}
    present = ""
    for word in _RENAMED.split():
        if word.endswith(":"):
            present = word[:-1]
        else:
            found[word] = present
    return found


PRESENT_NAMES: Mapping[str, str] = MappingProxyType(_old_names())
"""The present name of each old one."""


@cache
def known() -> frozenset[str]:
    """Return the names that this machine knows, old ones too. Kept: to look takes 50 ms, one file a zone."""
    return frozenset(available_timezones() - NO_ZONES | {ALWAYS})


@cache
def choices() -> tuple[str, ...]:
    """Return the names that a person may choose from, sorted: the present ones."""
    return tuple(sorted(known() - PRESENT_NAMES.keys()))


def choices_with(kept: str | None) -> list[tuple[str, str]]:
    """Return the choices as value and label; with them ``kept``, what is stored, also if this machine lacks it."""
    found = [(name, name) for name in choices()]
    if kept and kept not in choices():
        found.append((kept, title(kept)))
    return sorted(found)


def choices_with_old() -> list[tuple[str, str]]:
    """Return the choices, each with its old names, parted by blanks: browsers still call some zones by them."""
    old: dict[str, list[str]] = {}
    for name, present in PRESENT_NAMES.items():
        old.setdefault(present, []).append(name)
    return [(name, " ".join(old.get(name, ()))) for name in choices()]


def name_of(text: str) -> str | None:
    """Return the name by which a zone is stored, whatever its case and age; None if this machine lacks the zone."""
    return _by_small_letters().get(text.strip().casefold())


def stored(text: str) -> str:
    """Return the name by which a zone without a fault is stored: ``name_of`` it, or of one that was lost the text."""
    return name_of(text) or text


def fault_of(text: str, kept: str | None = None) -> str | None:
    """Return why a zone cannot be stored, as the end of a sentence; None if it can.

    What is stored already, ``kept``, may stay: a zone that the machine has lost is in nobody's way.
    """
    if name_of(text) is not None or text == kept:
        return None
    wanted = text.strip()
    if wanted in _ever() or len(known()) == 1:
        shown = wanted if wanted in _ever() else "any zone but UTC"
        return f"this machine has no data of {shown}; install the tzdata of its system, or choose another time zone"
    return f"there is no such time zone; choose one by its name, for example {EXAMPLE}"


def refusal(text: str, kept: str | None = None) -> str | None:
    """Return why a zone cannot be stored in place of ``kept``, as a sentence; None if it can."""
    fault = fault_of(text, kept)
    return None if fault is None else f"{fault[0].upper()}{fault[1:]}."


def title(name: str) -> str:
    """Return the name of a stored zone as pages show it: with a remark if this machine lacks the zone."""
    return name if name_of(name) is not None else f"{name} (unknown to this machine, which uses its own zone instead)"


@cache
def _by_small_letters() -> dict[str, str]:
    names = {name: name for name in known()}
    # The present name, unless this machine knows the old one alone.
    names |= {old: new for old, new in PRESENT_NAMES.items() if new in known()}
    return {name.casefold(): stored for name, stored in names.items()}


@cache
def _ever() -> frozenset[str]:
    return frozenset(PRESENT_NAMES) | frozenset(PRESENT_NAMES.values())
