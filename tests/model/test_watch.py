"""Trainings that run away or learn nothing are noticed; others are not."""

from math import log

from fdht.model.watch import troubles


def of(*losses: float, epochs: int = 40, classes: int = 10) -> list[str]:
    return troubles(losses, epochs, classes, 0.03)


def test_a_loss_that_rises_for_long_is_said_with_a_lower_rate():
    assert not of(2.3, 1.0, 0.5, 0.9, 0.9, 0.9), "three epochs, and a tenth of 40 are four"
    (sentence,) = of(2.3, 1.0, 0.5, 0.9, 0.9, 0.9, 0.95)
    assert sentence.startswith("the loss has been above its best for 4 epochs: 0.5 after epoch 3, 0.95 now;")
    assert sentence.endswith("train anew with --learning-rate 0.01")
    assert of(2.3, 0.5, 0.9, 0.9, 0.95, epochs=5)


def test_noise_is_no_rise():
    assert not of(2.3, 0.5, 0.6, 0.55, 0.62, 0.58)
    assert not of(2.3, 0.001, 0.03, 0.02, 0.04, 0.03), "small losses jump"
    assert not of(2.3, 0.5, 0.9, 0.9, 0.9, 0.9, 0.5)


def test_a_training_that_ends_where_guessing_is_has_learnt_nothing():
    (sentence,) = of(2.4, 2.3, epochs=2)
    assert "nothing was learnt" in sentence and f"{log(10):.3g}" in sentence
    assert not of(2.4, 2.3, epochs=3), "it has not ended"
    assert not of(2.4, 2.0, epochs=2)
    assert not of(0.1, 0.1, epochs=2, classes=1) and not of(epochs=2)
