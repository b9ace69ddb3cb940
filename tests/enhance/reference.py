"""The exposure fusion framework as plainly as the papers write it: loops, dense matrices, double precision."""

import numpy as np

A, B, LAMBDA, EPSILON, MU = -0.3293, 1.1258, 0.5, 0.001, 0.5


def cubic(x: np.ndarray) -> np.ndarray:
    """Keys' kernel with a = -1/2."""
    x = np.abs(x)
    return np.where(x <= 1, 1.5 * x**3 - 2.5 * x**2 + 1, np.where(x <= 2, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2, 0.0))


def resizing(length: int, size: int, scale: float) -> np.ndarray:
    """Matrix (size, length) that resizes a line by `scale`, with antialiasing and symmetric borders."""
    matrix = np.zeros((size, length))
    shrunk = min(scale, 1.0)
    for i in range(size):
        centre = (i + 0.5) / scale - 0.5
        for j in range(int(centre - 2 / shrunk) - 2, int(centre + 2 / shrunk) + 3):
            mirrored = j % (2 * length)
            matrix[i, min(mirrored, 2 * length - 1 - mirrored)] += shrunk * cubic(np.array(shrunk * (centre - j)))
        matrix[i] /= matrix[i].sum()
    return matrix


def resized(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """An (h, w) image at another size."""
    rows = resizing(image.shape[0], height, height / image.shape[0])
    return rows @ image @ resizing(image.shape[1], width, width / image.shape[1]).T


def system(right: np.ndarray, down: np.ndarray) -> np.ndarray:
    """I + sum_d D_d^T Diag(edge_d) D_d with D_d the periodic forward difference, dense."""
    size = right.size
    index = np.arange(size).reshape(right.shape)
    matrix = np.eye(size)
    for edges, axis in ((right, 1), (down, 0)):
        difference = -np.eye(size)
        difference[index.ravel(), np.roll(index, -1, axis).ravel()] += 1
        matrix += difference.T @ np.diag(edges.ravel()) @ difference
    return matrix


def edges(half: np.ndarray, paper: bool = False) -> list[np.ndarray]:
    """Weights of the edges to the right and down: of Eqs. 8 and 9 as printed, or of the authors' program."""
    weights = []
    for lines in (half, half.T):
        found = np.zeros_like(lines)
        for line, out in zip(lines, found, strict=True):
            gradient = [line[(i + 1) % len(line)] - line[i] for i in range(len(line))]
            for i in range(len(line)):
                total = sum(gradient[max(i - 2, 0) : i + 3])
                if paper:
                    out[i] = 1 / ((abs(total) + EPSILON) * (abs(gradient[i]) + EPSILON))
                else:
                    out[i] = 1 / (abs(total * gradient[i]) + EPSILON)
        weights.append(found)
    return [weights[0], weights[1].T]


def illumination(P: np.ndarray, paper: bool = False) -> np.ndarray:
    """T of an (h, w, c) image with even sides."""
    height, width = P.shape[:2]
    half = resized(P.max(axis=2), height // 2, width // 2)
    right, down = edges(half, paper)
    t = np.linalg.solve(system(LAMBDA * right, LAMBDA * down), half.ravel()).reshape(half.shape)
    return np.clip(resized(t, height, width), 0, 1)


def transformed(P: np.ndarray, k: float) -> np.ndarray:
    return np.exp(B * (1 - k**A)) * P ** (k**A)


def fused(P: np.ndarray, k: float, paper: bool = False) -> np.ndarray:
    """R for a k that is given."""
    W = illumination(P, paper)[..., None] ** MU
    return np.clip(W * P + (1 - W) * np.minimum(transformed(P, k), 1), 0, 1)


def entropy(brightness: np.ndarray, k: float) -> float:
    """Bits of the 256 grey levels that an exposure at k of these pixels takes, each pixel at its nearest level."""
    levels = np.rint(np.clip(255 * transformed(brightness, k), 0, 255)).astype(int)
    share = np.bincount(levels, minlength=256) / len(levels)
    return float(-sum(p * np.log2(p) for p in share if p > 0))
