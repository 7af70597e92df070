"""Who may read and who may write, without a server: names, addresses, origins, tokens."""

from __future__ import annotations

import socket

import pytest

from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.view.access import Access, new_token

HERE, EVERYWHERE = Access('127.0.0.1', 'secret'), Access('0.0.0.0', 'secret')


@pytest.mark.parametrize('host', ['127.0.0.1:8042', 'localhost:8042', '[::1]:8042', 'localhost'])
def test_this_machine_is_taken_under_each_of_its_names_and_through_a_tunnel(host):
    assert HERE.refusal({'Host': host}) == ''
    assert HERE.refusal({'Host': host, 'Origin': f'http://{host}'}) == ''


@pytest.mark.parametrize('host', [
    '', 'evil.example', '127.0.0.1.evil.example', 'localhost.evil.example:8042', '10.0.0.5',
    '0.0.0.0:8042', '[::1', 'xn--', '127.1', '2130706433',
])  # fmt: skip
def test_another_name_is_refused_by_a_page_of_this_machine(host):
    assert 'Host is' in HERE.refusal({'Host': host})


@pytest.mark.parametrize('origin', [
    'http://evil.example', 'null', '', 'https://127.0.0.1:8042', 'http://127.0.0.1:1234',
    'http://localhost:8042',
])  # fmt: skip
def test_another_origin_is_refused(origin):
    assert 'Origin is' in HERE.refusal({'Host': '127.0.0.1:8042', 'Origin': origin})


def test_from_elsewhere_addresses_and_the_own_name_are_taken_other_names_are_not():
    own = socket.gethostname()
    for host in ('10.0.0.5:8042', f'{own}:8042', f'{own}.local', '[fe80::1]:8042'):
        assert EVERYWHERE.refusal({'Host': host}) == '', host
    assert EVERYWHERE.refusal({'Host': 'rebound.example'})


def test_reading_is_free_here_alone_and_writing_nowhere():
    assert HERE.may_read('') and not EVERYWHERE.may_read('')
    for access in (HERE, EVERYWHERE):
        assert access.may_read('secret') and access.may_write('secret')
        for token in ('', 'secre', 'secrets', 'Secret', 'sécret'):
            assert not access.may_write(token)


def test_a_token_is_new_each_time_needs_no_quoting_and_is_not_printed_with_the_rules():
    assert new_token() != new_token() and len(new_token()) >= 20
    assert 'secret' not in repr(HERE)
    assert HERE.address(8042) == 'http://127.0.0.1:8042/?token=secret'


@pytest.mark.parametrize('host', ['example.com', '', '127.0.0.1:80', '256.1.1.1'])
def test_an_address_that_is_none_is_refused_by_name(host):
    with pytest.raises(ConfigError, match='--host'):
        Access(host)
