from itertools import combinations

import numpy as np
import pytest

from bnlens import render

# Machado, Oliveira and Fernandes (2009), severity 1: how linear RGB looks to a dichromat.
VISION = {
    "trichromat": [1, 0, 0, 0, 1, 0, 0, 0, 1],
    "protanope": [0.152286, 1.052583, -0.204868, 0.114503, 0.786281, 0.099216, -0.003882, -0.048116, 1.051998],
    "deuteranope": [0.367322, 0.860646, -0.227968, 0.280085, 0.672501, 0.047413, -0.011820, 0.042940, 0.968881],
    "tritanope": [1.255528, -0.076749, -0.178779, -0.078411, 0.930809, 0.147602, 0.004733, 0.691367, 0.303900],
}


def linear_rgb(color: str) -> np.ndarray:
    srgb = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def luminance(color: str) -> float:
    return float(linear_rgb(color) @ [0.2126, 0.7152, 0.0722])


def oklab(rgb: np.ndarray) -> np.ndarray:
    to_cones = [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
    to_lab = [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
    return np.array(to_lab) @ np.cbrt(np.array(to_cones) @ np.clip(rgb, 0, 1))


@pytest.mark.parametrize("color", render.PALETTE)
def test_colours_stand_out_on_the_light_and_the_dark_ground(color: str) -> None:
    light, dark = luminance("#ffffff"), luminance("#14171c")
    assert (light + 0.05) / (luminance(color) + 0.05) >= 3
    assert (luminance(color) + 0.05) / (dark + 0.05) >= 3


@pytest.mark.parametrize("vision", VISION)
def test_colours_differ_with_every_colour_vision(vision: str) -> None:
    seen = [oklab(np.reshape(VISION[vision], (3, 3)) @ linear_rgb(color)) for color in render.PALETTE]
    assert min(np.linalg.norm(a - b) for a, b in combinations(seen, 2)) > 0.1


def test_roles_differ_without_colour() -> None:
    assert len({(role["dash"], role["symbol"]) for role in render.ROLES.values()}) == len(render.ROLES)


def test_new_figure_takes_layout() -> None:
    layout = render.new_figure(x="M", y="gap (nats per sample)", xaxis_type="log").layout
    assert (layout.xaxis.type, layout.yaxis.title.text) == ("log", "gap (nats per sample)")
    assert layout.template.layout.paper_bgcolor == "rgba(0,0,0,0)"
