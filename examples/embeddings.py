"""A frozen model's embedding, and a classifier on top of it that should not follow the shortcut.

Coloured digits stand for your images and principal components for your frozen model. The colour gives the label away
in 95 of 100 training images; in the test set it says nothing.
"""

from __future__ import annotations

from fairlearn.metrics import MetricFrame
from sklearn.decomposition import PCA
from sklearn.metrics import accuracy_score

from longcut import load
from longcut.estimators import DebiasedClassifier

digits = load("colored-digits")
train, test = (part.x[part.index].flatten(1).numpy() for part in (digits.train, digits.test))
frozen = PCA(50, random_state=0).fit(train)
train, test = frozen.transform(train), frozen.transform(test)  # embed once

for method in ("erm", "selecmix"):
    classifier = DebiasedClassifier(method, random_state=0).fit(train, digits.train.label)
    table = MetricFrame(
        metrics=accuracy_score,
        y_true=digits.test.label,
        y_pred=classifier.predict(test),
        sensitive_features={"colour": digits.test.conflicting.numpy()},
    )
    print(f"{method}: {table.overall:.3f} of all test images right")
    for conflicting, accuracy in table.by_group.items():
        print(f"  colour {'contradicts' if conflicting else 'agrees with'} the label: {accuracy:.3f}")
