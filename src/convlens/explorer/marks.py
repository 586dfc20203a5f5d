"""What is striking about the validation images: suspected labels, near-duplicates in train."""

from typing import Any

import numpy as np

from convlens.explorer.forms import Answer, as_json
from convlens.explorer.inside import Explorer
from convlens.explorer.lookup import network_of, survey_of
from convlens.explorer.pictures import short
from convlens.inference.label_errors import find


def marks(explorer: Explorer, run: str) -> Answer:
    """`suspected`: rows of the images whose label the network doubts, the most doubtful first, with
    the class that it suggests. `near`: rows with a near-duplicate among the training images; null
    where nobody has looked for them.
    """
    network, survey = network_of(explorer, run), survey_of(explorer, run)
    labels = survey.labels("validation")
    rows = np.flatnonzero(labels >= 0)
    probabilities = network.classifier.probabilities(survey.seen("validation").logits)
    suspected: list[dict[str, Any]] = []
    if len(rows) and probabilities.shape[1] > 1:
        errors = find(probabilities[rows], labels[rows])
        suspected = [
            {
                "row": int(rows[i]),
                "suggested": int(errors.suggested[i]),
                "probability": short(errors.suggested_probability[i : i + 1])[0],
            }
            for i in errors.ranking.tolist()
        ]
    near = None if survey.near is None else np.flatnonzero(survey.near).tolist()
    return as_json({"suspected": suspected, "near": near})
