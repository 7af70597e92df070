"""Floors by hand, and the page that prints them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from dysl_vla_ros.lab.evaluation.roofline import (
    AGX_ORIN_64GB,
    Part,
    openvla_oft,
    table,
    transformer,
)

PAGE = Path(__file__).resolve().parents[3] / 'doc' / 'orin.md'


def test_a_layer_of_llama_counts_its_matrices_and_its_attention():
    layer = openvla_oft().layer
    assert layer.weights == 4 * 4096**2 + 3 * 4096 * 11008
    assert layer.products == 605 * layer.weights + 2 * 605**2 * 4096


def test_the_sequence_has_605_tokens():
    assert openvla_oft().tokens == 605


def test_the_backbone_has_the_weights_of_llama_2_7b_without_embeddings():
    network = openvla_oft()
    assert 32 * network.layer.weights == pytest.approx(6.476e9, rel=1e-3)


def test_the_peak_is_half_of_what_is_stated_with_sparsity():
    assert AGX_ORIN_64GB.int8 == pytest.approx(170e12 / 2, rel=0.005)
    assert AGX_ORIN_64GB.fp16 == AGX_ORIN_64GB.int8 / 2


def test_a_part_takes_the_longer_of_computing_and_reading():
    part = Part(weights=100.0, products=1000.0)
    assert part.seconds(peak=10.0, bandwidth=1e9, weight_bytes=2) == 200.0
    assert part.seconds(peak=1e9, bandwidth=10.0, weight_bytes=2) == 20.0
    assert part.seconds(peak=1e9, bandwidth=10.0, weight_bytes=1) == 10.0


def test_a_full_pass_on_orin_is_bound_by_computing():
    network = openvla_oft()
    wide = replace(AGX_ORIN_64GB, bandwidth=1e15)
    assert network.floor(AGX_ORIN_64GB, 32) == pytest.approx(network.floor(wide, 32), rel=0.02)


def test_two_images_cost_twice_the_products_of_one_and_no_more_weights():
    one, two = (transformer(2, 8, 128, 5, images=n) for n in (1, 2))
    assert two.products == 2 * one.products and two.weights == one.weights


def test_the_page_prints_these_floors():
    page = PAGE.read_text(encoding='utf-8')
    text = '\n'.join(table(openvla_oft(), AGX_ORIN_64GB))
    assert text in page, 'put what dysl bench --roofline prints into the page'
