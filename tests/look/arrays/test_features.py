"""Features and what is made of them, against brute force."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from convlens.errors import UserError
from convlens.look.arrays.features import embedding, features, nearest
from convlens.models import MODELS

RANDOM = np.random.default_rng(0)


@pytest.mark.parametrize("name", MODELS)
def test_features_are_what_the_last_layer_reads(name, classifier_of):
    torch.manual_seed(0)
    model = MODELS[name](5)
    images = RANDOM.integers(0, 256, (5, 64, 64, 3), dtype=np.uint8)
    classifier = classifier_of(model, 64, class_names="abcde")
    seen = features(classifier, images, batch_size=2)
    last = [module for module in model.modules() if isinstance(module, nn.Linear)][-1]
    with torch.no_grad():
        logits = last(torch.from_numpy(seen))
        expected = model.eval()(classifier.inputs(images))
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5)
    assert not any(module._forward_hooks for module in model.modules())


def test_a_model_without_a_linear_layer_is_named(classifier_of):
    images = np.zeros((1, 8, 8, 3), np.uint8)
    with pytest.raises(UserError, match="Conv2d has no linear layer"):
        features(classifier_of(nn.Conv2d(3, 2, 3), 8), images)


@given(st.integers(1, 6), st.integers(1, 8), st.integers(1, 5))
def test_the_nearest_are_those_of_a_loop(queries, candidates, count):
    random = np.random.default_rng(queries * 64 + candidates)
    q, c = random.normal(size=(queries, 4)), random.normal(size=(candidates, 4))
    found = nearest(q, c, count)
    for i in range(queries):
        cosines = [q[i] @ v / np.linalg.norm(q[i]) / np.linalg.norm(v) for v in c]
        order = sorted(range(candidates), key=lambda j: -cosines[j])[:count]
        assert found.rows[i].tolist() == order
        np.testing.assert_allclose(found.similarity[i], np.array(cosines)[order])


def test_an_image_is_most_like_itself_and_zero_like_nothing():
    vectors = RANDOM.normal(size=(5, 3))
    vectors[2] = 0
    found = nearest(vectors, vectors, 1)
    assert found.rows[[0, 1, 3, 4], 0].tolist() == [0, 1, 3, 4]
    np.testing.assert_allclose(found.similarity[:, 0], [1, 1, 0, 1, 1], atol=1e-6)


def test_the_embedding_keeps_the_distances_of_points_in_a_plane():
    flat = RANDOM.normal(size=(20, 2)) * [3, 1]
    turn, _ = np.linalg.qr(RANDOM.normal(size=(6, 2)))
    places, share = embedding(flat @ turn.T + 5)
    assert share == pytest.approx(1)
    apart = np.linalg.norm(flat[:, None] - flat, axis=2)
    np.testing.assert_allclose(np.linalg.norm(places[:, None] - places, axis=2), apart, atol=1e-4)
    assert (places[np.abs(places).argmax(axis=0), [0, 1]] > 0).all()


def test_one_image_and_equal_images_have_a_place_too():
    for vectors in np.ones((1, 3)), np.ones((4, 3)):
        places, share = embedding(vectors)
        assert places.shape == (len(vectors), 2) and not places.any() and share == 1
