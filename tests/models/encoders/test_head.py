"""Scores of a head with the words' frequencies added are what Bayes' rule says."""

import numpy as np

from models.encoders.head import add_prior


def test_the_prior_makes_the_posterior_of_equally_many_clips_that_of_unequally_many():
    rng = np.random.default_rng(0)
    density = rng.random((50, 4))  # of a clip, given its class
    clips = np.array([900, 60, 37, 3])
    balanced = np.log(density / density.sum(1, keepdims=True))
    joint = density * clips
    posterior = np.exp(add_prior(balanced.astype(np.float32), clips))
    np.testing.assert_allclose(posterior, joint / joint.sum(1, keepdims=True), rtol=1e-5)
    assert (posterior.argmax(1) != balanced.argmax(1)).any()


def test_a_class_without_a_clip_is_never_predicted_and_scores_far_below_stay_numbers():
    scores = add_prior(np.array([[0, -2000, -3000]], np.float32), np.array([0, 5, 5]))
    assert scores.argmax() == 1 and scores[0, 0] == -np.inf and scores[0, 1] == 0
    np.testing.assert_allclose(scores[0, 2], -1000)
