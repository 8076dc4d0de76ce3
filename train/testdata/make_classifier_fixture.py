"""Writes classifier.json: linear classifiers trained as main_lincls.py of facebookresearch/moco trains them, by
torch.nn.CrossEntropyLoss and torch.optim.SGD, for classifier_test.go. The features and batches are the same for all.

Usage: python make_classifier_fixture.py > classifier.json
"""

import json

import torch

DIM, CLASSES, BATCH, ROWS = 12, 5, 8, 21  # batches of 8, 8 and 5 rows
EPOCHS = 3  # at rate, rate and rate / 10

# learning rate, weight decay
CLASSIFIERS = [(30.0, 0.0), (0.5, 0.0), (3.0, 1e-3)]


def run(rate, decay, weight, bias, x, y, epochs):
    classifier = torch.nn.Linear(DIM, CLASSES)
    classifier.weight.data, classifier.bias.data = weight.clone(), bias.clone()
    optimizer = torch.optim.SGD(classifier.parameters(), rate, momentum=0.9, weight_decay=decay, foreach=False)
    steps = []
    for epoch, order in enumerate(epochs):
        for group in optimizer.param_groups:
            group["lr"] = rate * (0.1 if epoch == EPOCHS - 1 else 1)
        for rows in torch.tensor(order).split(BATCH):
            output = classifier(x[rows])
            loss = torch.nn.functional.cross_entropy(output, y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            steps.append({
                "rate": group["lr"],
                "loss": loss.item(),
                "top1": (output.argmax(1) == y[rows]).float().mean().item(),
                "weight": classifier.weight.detach().flatten().tolist(),
                "bias": classifier.bias.detach().tolist(),
            })
    with torch.no_grad():
        logits = classifier(x).flatten().tolist()
    return {"weight_decay": decay, "steps": steps, "logits": logits}


def main():
    torch.manual_seed(3)
    x = torch.randn(ROWS, DIM).relu() * 0.5  # as the mean of a feature map behind a ReLU
    y = torch.randint(CLASSES, (ROWS,))
    weight, bias = torch.empty(CLASSES, DIM).normal_(0, 0.01), torch.zeros(CLASSES)
    epochs = [torch.randperm(ROWS).tolist() for _ in range(EPOCHS)]
    print(json.dumps({
        "torch": torch.__version__.split("+")[0],
        "dim": DIM, "classes": CLASSES, "batch": BATCH, "momentum": 0.9,
        "features": x.flatten().tolist(), "labels": y.tolist(), "epochs": epochs,
        "weight": weight.flatten().tolist(), "bias": bias.tolist(),
        "classifiers": [run(rate, decay, weight, bias, x, y, epochs) for rate, decay in CLASSIFIERS],
    }))


main()
