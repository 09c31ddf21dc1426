from agent.scrape.schedule import next_due_ms, phase_s, timestamp_ms


def test_a_target_keeps_its_moment_across_restarts_and_agents_differ() -> None:
    assert phase_s("target", "a", 15.0) == phase_s("target", "a", 15.0)
    assert phase_s("target", "a", 15.0) != phase_s("target", "b", 15.0)


def test_targets_are_spread_over_the_interval() -> None:
    phases = [phase_s(f"target {n}", "a", 60.0) for n in range(1000)]
    assert all(0 <= phase < 60 for phase in phases)
    for quarter in range(4):
        assert 200 < sum(15 * quarter <= phase < 15 * (quarter + 1) for phase in phases) < 300


def test_the_next_scrape_is_the_first_moment_ahead() -> None:
    assert next_due_ms(100_000, 15_000, 4_000) == 109_000
    assert next_due_ms(109_000, 15_000, 4_000) == 124_000
    assert next_due_ms(108_999, 15_000, 4_000) == 109_000
    # What was missed is skipped.
    assert next_due_ms(163_000, 15_000, 4_000) == 169_000


def test_a_scrape_that_begins_a_little_late_gets_the_time_at_which_it_was_due() -> None:
    assert timestamp_ms(109.0015, 109_000, 15_000) == 109_000
    assert timestamp_ms(108.9995, 109_000, 15_000) == 109_000
    assert timestamp_ms(109.003, 109_000, 15_000) == 109_003
    # The tolerance is at most a hundredth of the interval.
    assert timestamp_ms(109.0015, 109_000, 100) == 109_001
