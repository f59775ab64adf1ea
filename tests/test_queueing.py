"""Queueing formulas against textbooks, exact sums and known limits."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from cpi_model.formulas import queueing


def exact_erlang_c(load: Fraction, servers: int) -> float:
    """The sum of the definition, in whole numbers."""
    term, total = Fraction(1), Fraction(0)
    for k in range(servers):
        total += term
        term *= load / (k + 1)
    last = term / (1 - load / servers)
    return float(last / (total + last))


class TestErlangC:
    @pytest.mark.parametrize("servers", [1, 2, 7, 40, 200])
    @pytest.mark.parametrize("load_share", [Fraction(1, 10), Fraction(7, 10), Fraction(99, 100)])
    def test_is_the_sum_of_its_definition(self, servers: int, load_share: Fraction) -> None:
        load = load_share * servers
        found = queueing.erlang_c(float(load), float(servers))
        assert found == pytest.approx(exact_erlang_c(load, servers), rel=1e-9, abs=1e-300)

    @pytest.mark.parametrize("beta", [0.5, 1.0, 2.0])
    def test_many_servers_approach_halfin_and_whitt(self, beta: float) -> None:
        # S. Halfin, W. Whitt, Operations Research 29, 1981: P(wait) = 1 / (1 + beta Phi / phi).
        load = 1e6
        limit = 1.0 / (1.0 + beta * stats.norm.cdf(beta) / stats.norm.pdf(beta))
        servers = load + beta * math.sqrt(load)
        assert queueing.erlang_c(load, servers) == pytest.approx(limit, rel=5e-3)

    def test_one_server_waits_with_the_share_of_its_load(self) -> None:
        loads = np.array([0.1, 0.5, 0.95])
        assert queueing.erlang_c(loads, 1.0) == pytest.approx(loads)

    def test_all_wait_where_servers_cannot_keep_up(self) -> None:
        assert queueing.erlang_c(9.0, 8.0) == 1.0
        assert queueing.multi_server_wait(9.0, 1.0, 8.0) == math.inf

    def test_wait_and_quantile_of_one_server_are_the_textbook_ones(self) -> None:
        # M/M/1: W_q = rho / (mu - lambda); P(W_q > t) = rho exp(-(mu - lambda) t).
        wait = queueing.multi_server_wait(0.8, 1.0, 1.0)
        assert wait == pytest.approx(0.8 / 0.2)
        found = float(queueing.wait_quantile(0.8, wait, 0.99))
        assert 0.8 * math.exp(-0.2 * found) == pytest.approx(0.01)
        assert queueing.wait_quantile(0.8, wait, 0.1) == 0.0


class TestSingleServer:
    def test_constant_times_wait_half_as_long_as_exponential_ones(self) -> None:
        loads = np.array([0.2, 0.6, 0.9])
        constant = queueing.single_server_wait(loads, 1.0, 0.0)
        assert constant == pytest.approx(0.5 * queueing.multi_server_wait(loads, 1.0, 1.0))

    def test_is_infinite_where_it_cannot_keep_up(self) -> None:
        assert queueing.constant_service_wait(5.0, 1.0, 4) == math.inf
        assert queueing.single_server_wait(2.0, 1.0, 0.0) == math.inf

    def test_work_that_gathers_is_what_a_departure_leaves(self) -> None:
        # M/D/1: a departure leaves rho + rho^2 / (2 (1 - rho)) requests, and each of them keeps the
        # server busy for s / (1 - rho).
        for load in (0.2, 0.5, 0.9):
            left = load + load**2 / (2.0 * (1.0 - load))
            wait = queueing.single_server_wait(load, 1.0, 0.0)
            found = queueing.gathered_work(load, wait, 0.0)
            assert found == pytest.approx(left / (1.0 - load))
        assert queueing.gathered_work(0.0, 0.0, 1.0) == 0.0


class TestSharedReplica:
    @pytest.mark.parametrize("servers", [1, 8, 300])
    def test_equal_servers_are_erlang_c(self, servers: int) -> None:
        load = 0.85 * servers
        rates = np.arange(1.0, servers + 1.0)
        waiting = queueing.state_shares(load, rates)[-1]
        assert waiting == pytest.approx(float(queueing.erlang_c(load, float(servers))), rel=1e-9)
        wait = float(queueing.multi_server_wait(load, 1.0, float(servers)))
        assert queueing.slot_wait(load, rates) == pytest.approx(wait, rel=1e-9)

    def test_servers_without_number_have_poisson_many_requests(self) -> None:
        shares = queueing.state_shares(5.0, np.arange(1.0, 101.0))
        assert shares[:60] == pytest.approx(stats.poisson.pmf(np.arange(60), 5.0), abs=1e-12)

    def test_one_server_that_all_share_is_geometric(self) -> None:
        shares = queueing.state_shares(0.5, np.ones(60))
        assert shares[:50] == pytest.approx(0.5 ** np.arange(1.0, 51.0), rel=1e-9)

    @given(st.floats(0.05, 0.98), st.integers(1, 200), st.floats(0.0, 0.1), st.floats(1e-4, 0.1))
    def test_work_that_comes_is_work_that_is_done(
        self, load_share: float, slots: int, fixed: float, moving: float
    ) -> None:
        number = np.arange(1.0, slots + 1.0)
        rates = number / (fixed + moving * number)
        rate = load_share * float(rates[-1])
        shares = queueing.state_shares(rate, rates)
        assert shares.sum() == pytest.approx(1.0)
        assert shares[1:] @ rates == pytest.approx(rate, rel=1e-6)
        weights = queueing.pace_weights(rate, rates)
        # The work done with so many is their speed times how often they are there.
        assert weights == pytest.approx(shares[1:] * rates / rate, rel=1e-6, abs=1e-12)
        # Little's law in the slots: time per request by pace, and by number.
        assert weights @ (number / rates) * rate == pytest.approx(
            float(queueing.mean_running(rate, rates)), rel=1e-6
        )

    def test_many_loads_at_a_time_are_each_alone(self) -> None:
        rates = np.array([1.0, 1.8, 2.4])
        loads = np.array([0.1, 1.0, 2.3, 5.0])
        together = queueing.state_shares(loads, rates)
        for index, load in enumerate(loads):
            assert together[index] == pytest.approx(queueing.state_shares(float(load), rates))
        assert queueing.slot_wait(loads, rates)[-1] == math.inf

    def test_thousands_of_slots_do_not_overflow(self) -> None:
        number = np.arange(1.0, 8193.0)
        shares = queueing.state_shares(5000.0, number)
        assert np.isfinite(shares).all() and shares @ np.arange(8193) == pytest.approx(5000.0)


class TestFlowEquivalentRates:
    def test_prompts_are_read_one_after_another(self) -> None:
        prompt, token = np.full(64, 0.2), np.full(64, 0.01)
        rates, _ = queueing.flow_equivalent_rates(prompt, token, 5.0, 0.1, 0.9)
        assert (np.diff(rates) >= -1e-12).all()
        assert (rates <= 1.0 / 0.2 + 1e-12).all()

    def test_one_request_alone_waits_for_nothing(self) -> None:
        rates, paces = queueing.flow_equivalent_rates(
            np.array([0.2]), np.array([0.01]), 50.0, 0.3, 0.9
        )
        assert 1.0 / rates[0] == pytest.approx(0.2 + 50.0 * 0.01 + 0.3)
        assert paces[0] == 0.01

    def test_prompts_and_answers_without_interference_are_a_closed_network(self) -> None:
        # Two requests, exponential in the textbook: with constant times the one in front is half
        # done, so the second of two waits between none and all of a prompt.
        rates, _ = queueing.flow_equivalent_rates(np.full(2, 1.0), np.full(2, 1.0), 1.0, 0.0, 0.0)
        assert 2.0 / 3.0 <= rates[1] <= 1.0


class TestSharedTimes:
    def test_log_normal_work_at_one_pace_is_log_normal(self) -> None:
        values, shares = queueing.shared_times(
            np.array([1.0]), np.array([0.02]), np.array([1.0]), 200.0, 0.77
        )
        assert shares.sum() == pytest.approx(1.0)
        assert shares @ values == pytest.approx(1.0 + 4.0, rel=1e-3)
        sd = math.sqrt(math.log1p(0.77**2))
        for q in (0.5, 0.95, 0.99):
            exact = 1.0 + 4.0 * math.exp(sd * stats.norm.ppf(q) - 0.5 * sd**2)
            found = np.quantile(values, q, weights=shares, method="inverted_cdf")
            assert found == pytest.approx(exact, rel=0.06)


class TestBatchQueue:
    @pytest.mark.parametrize("load", [0.1, 0.5, 0.8, 0.95])
    def test_batches_of_one_are_pollaczek_and_khinchine(self, load: float) -> None:
        wait, busy, _ = queueing.batch_queue(load, np.ones(1), np.zeros(1), 0.0)
        assert wait == pytest.approx(float(queueing.single_server_wait(load, 1.0, 0.0)), rel=2e-3)
        assert busy == pytest.approx(load, rel=1e-3)

    @pytest.mark.parametrize("cv", [0.6, 2.0])
    def test_batches_of_one_that_vary_wait_longer(self, cv: float) -> None:
        wait, _, _ = queueing.batch_queue(0.5, np.ones(1), np.full(1, cv), 0.0)
        assert wait == pytest.approx(float(queueing.single_server_wait(0.5, 1.0, cv)), rel=2e-3)

    @pytest.mark.parametrize("largest", [2, 16, 400])
    def test_an_idle_server_waits_for_full_batches(self, largest: int) -> None:
        # The first of a batch waits for all others, the last for none.
        wait, _, shares = queueing.batch_queue(
            1.0, np.full(largest, 1e-6), np.zeros(largest), math.inf
        )
        assert wait == pytest.approx(0.5 * (largest - 1), rel=2e-3)
        assert shares[-1] == pytest.approx(1.0)

    def test_full_batches_are_bailey_and_downton(self) -> None:
        # Constant batches of exactly k: the queue of an E_k/D/1 server, whose mean wait lies below
        # that of M/D/1 with the same load by about 1/k.
        rate, size = 0.8 * 8, 8
        wait, busy, _ = queueing.batch_queue(rate, np.ones(size), np.zeros(size), math.inf)
        filling = 0.5 * (size - 1) / rate
        assert busy == pytest.approx(0.8, rel=1e-6)
        assert 0.0 < wait - filling < 2.0 / size

    def test_whoever_comes_to_an_idle_server_waits_the_longest_time(self) -> None:
        # Hardly any load: alone in its batch, after the longest wait.
        wait, _, shares = queueing.batch_queue(1e-3, np.full(8, 0.01), np.zeros(8), 0.5)
        assert wait == pytest.approx(0.5, rel=1e-3)
        assert shares[0] == pytest.approx(1.0, abs=1e-3)

    def test_a_server_that_cannot_keep_up_makes_full_batches(self) -> None:
        wait, busy, shares = queueing.batch_queue(100.0, np.ones(4), np.zeros(4), 0.0)
        assert (wait, busy, shares[-1]) == (math.inf, 1.0, 1.0)

    @given(
        st.floats(0.02, 0.97), st.integers(1, 300), st.floats(1e-3, 1.0), st.floats(0.0, 0.05),
        st.floats(0.0, 3.0) | st.just(math.inf),
    )  # fmt: skip
    def test_all_work_is_done(
        self, load_share: float, largest: int, fixed: float, moving: float, wait_share: float
    ) -> None:
        size = np.arange(1.0, largest + 1.0)
        times = fixed + moving * size
        rate = load_share * largest / float(times[-1])
        wait, busy, shares = queueing.batch_queue(
            rate, times, np.zeros(largest), wait_share * fixed
        )
        assert shares.sum() == pytest.approx(1.0)
        assert wait >= 0.0 and 0.0 < busy <= 1.0 + 1e-9
        # Batches a second, by how long the server works and by what comes.
        assert busy / (shares @ times) == pytest.approx(rate / (shares @ size), rel=0.05)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: queueing.erlang_c(0.0, 2.0), "offered_load is 0.0"),
        (lambda: queueing.erlang_c(1.0, 0.5), "servers is 0.5"),
        (lambda: queueing.state_shares(1.0, np.array([1.0, 0.0])), "service_rates is 0.0"),
        (lambda: queueing.batch_queue(1.0, np.ones(2), np.zeros(2), -1.0), "longest_wait is -1.0"),
        (lambda: queueing.wait_quantile(1.2, 1.0, 0.5), "waiting_share is 1.2"),
    ],
)
def test_refuses_what_cannot_be(call: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()  # type: ignore[operator]
