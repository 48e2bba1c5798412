"""Sun, clouds and air over the simulated house: pure functions of the seed and the time.

Whatever is random in the simulation is drawn here, from the seed and the hour, never from a generator with
a state: the same house lives the same day however it is asked, and a day can be jumped into anywhere.
"""

from __future__ import annotations

from functools import cache
from math import asin, cos, pi, radians, sin

LATITUDE, LONGITUDE = 47.07, 15.44  # Graz
DAY_S = 86400
_ROOF_TILT = 30.0  # degrees, facing south
_AXIS = radians(23.44)
_SPRING = 79.5  # days from the first of January to the equinox
_EPOCH_2000 = 946_684_800


def draw(seed: int, channel: str, number: int) -> float:
    """A number in [0, 1) that always comes out the same for the same seed, channel and number."""
    mixed = hash_of(seed, channel) ^ (number * 0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9 & 0xFFFFFFFFFFFFFFFF
    mixed = (mixed ^ (mixed >> 27)) * 0x94D049BB133111EB & 0xFFFFFFFFFFFFFFFF
    return ((mixed ^ (mixed >> 31)) >> 11) / (1 << 53)


@cache
def hash_of(seed: int, channel: str) -> int:
    """64 bits from a seed and a word; Python's own hash differs from one start to the next."""
    value = 0xCBF29CE484222325 ^ seed
    for byte in channel.encode():
        value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return value


def noise(seed: int, channel: str, at: float, period_s: float) -> float:
    """A smooth random walk in [0, 1] whose hills are about `period_s` apart."""
    knot, rest = divmod(at / period_s, 1.0)
    low, high = draw(seed, channel, int(knot)), draw(seed, channel, int(knot) + 1)
    return low + (high - low) * (3 - 2 * rest) * rest * rest


def local_hour(at: float) -> float:
    """The hour of the house's day, 0 to 24, by the sun's own time zone (no daylight saving)."""
    return (at / 3600 + LONGITUDE / 15) % 24


def local_day(at: float) -> int:
    """The number of the house's day; it changes at its midnight."""
    return int((at + LONGITUDE / 15 * 3600) // DAY_S)


def _declination(at: float) -> float:
    day_of_year = (at - _EPOCH_2000) / DAY_S % 365.25
    return asin(sin(_AXIS) * sin(2 * pi * (day_of_year - _SPRING) / 365.25))


def clear_sky_w_m2(at: float) -> float:
    """Irradiance on the roof under a clear sky: direct light through the air's mass, and a tenth of it diffuse."""
    declination, hour_angle = _declination(at), radians((local_hour(at) - 12) * 15)
    latitude = radians(LATITUDE)
    height = sin(latitude) * sin(declination) + cos(latitude) * cos(declination) * cos(hour_angle)
    if height <= 0.02:
        return 0.0
    south = latitude - radians(_ROOF_TILT)
    incidence = sin(south) * sin(declination) + cos(south) * cos(declination) * cos(hour_angle)
    beam: float = 1361 * 0.7 ** (height**-0.678)
    return beam * (max(0.0, incidence) + 0.1 * height)


def irradiance_w_m2(seed: int, at: float) -> float:
    """Irradiance on the roof: clear sky, dimmed by clouds that drift and have ragged edges."""
    clear = clear_sky_w_m2(at)
    if clear == 0:
        return 0.0
    cover = 0.75 * noise(seed, "clouds", at, 2400) + 0.25 * noise(seed, "cloud edges", at, 150)
    shade = min(1.0, max(0.0, (cover - 0.45) / 0.3))
    return clear * (1 - 0.78 * shade)


def outside_c(seed: int, at: float) -> float:
    """Air temperature: the season, the hour (warmest at three), and the weather of the day."""
    season = 10.5 - 10.5 * cos(2 * pi * ((at - _EPOCH_2000) / DAY_S - 20) / 365.25)
    return season + 5 * cos(2 * pi * (local_hour(at) - 15) / 24) + 6 * (noise(seed, "air", at, 1.5 * DAY_S) - 0.5)
