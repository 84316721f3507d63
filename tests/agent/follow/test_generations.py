from __future__ import annotations

import random

import pytest

from agent.follow.generations import Container, Generation, container_of, generation_of, shifted_of


@pytest.mark.parametrize(
    ("pod_directory", "name", "expected"),
    [
        ("shop_cart-7d4b_0f3c", "web", Container("shop", "cart-7d4b", "0f3c", "web")),
        ("kube-system_etcd-node1_8a1b2c", "etcd", Container("kube-system", "etcd-node1", "8a1b2c", "etcd")),
        ("no-underscores", "web", None),
        ("only_two", "web", None),
        ("a_b_c_d", "web", None),
        ("_b_c", "web", None),
        ("a__c", "web", None),
        ("a_b_", "web", None),
        ("a_b_c", "", None),
        ("a_b_c", "w" * 253, Container("a", "b", "c", "w" * 253)),
        # No batch could carry these.
        ("a_b_c", "w" * 254, None),
        ("a_b_\udcff", "web", None),
        ("a_b_c", "wéb", None),
    ],
)
def test_a_pods_directory_names_its_parts(pod_directory: str, name: str, expected: Container | None) -> None:
    assert container_of(pod_directory, name) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("0.log", Generation(0, current=True, stamp="", gzip=False)),
        ("12.log", Generation(12, current=True, stamp="", gzip=False)),
        ("0.log.20230405-022934", Generation(0, current=False, stamp="20230405-022934", gzip=False)),
        ("0.log.20230405-022934.gz", Generation(0, current=False, stamp="20230405-022934", gzip=True)),
        ("0.log.20230405-022934.tmp", None),
        ("0.log.gz", None),
        ("0.log.1", None),
        ("a.log", None),
        ("0.txt", None),
        ("0.log.20230405-022934.gz.gz", None),
        ("99999999999999999999.log", None),
    ],
)
def test_a_files_name_says_which_generation_it_is(name: str, expected: Generation | None) -> None:
    assert generation_of(name) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ab-json.log.1", Generation(3, current=False, stamp="0999999", gzip=False)),
        ("ab-json.log.2.gz", Generation(3, current=False, stamp="0999998", gzip=True)),
        ("ab-json.log", None),
        ("ab-json.log.x", None),
        ("cd-json.log.1", None),
    ],
)
def test_dockers_rotated_files_are_found_beside_the_target(name: str, expected: Generation | None) -> None:
    assert shifted_of("ab-json.log", name, 3) == expected


def test_generations_sort_oldest_first() -> None:
    oldest_first = [
        generation_of("0.log"),
        generation_of("1.log.20230405-022934"),
        generation_of("1.log.20230405-022944"),
        generation_of("1.log"),
        shifted_of("x", "x.10", 2),
        shifted_of("x", "x.2", 2),
        shifted_of("x", "x.1", 2),
        generation_of("2.log"),
        generation_of("10.log"),
    ]
    known = [generation for generation in oldest_first if generation is not None]
    assert len(known) == len(oldest_first)
    random.Random(1).shuffle(shuffled := known.copy())
    assert sorted(shuffled) == known
