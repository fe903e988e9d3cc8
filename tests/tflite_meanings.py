"""What TensorFlow Lite operators of images and sequences compute, in NumPy."""

from collections.abc import Sequence

import numpy as np

from tinyc.compiler.graph import Array


def windows(x: Array, size: Sequence[int], stride: int, dilation: int, same: bool, fill: float):
    """[n, h, w, kh, kw, c] of x [n, h, w, c], padded as SAME pads: more at the end."""
    pads = []
    for n, k in zip(x.shape[1:3], size, strict=True):
        reach = (k - 1) * dilation + 1
        total = max((-(-n // stride) - 1) * stride + reach - n, 0) if same else 0
        pads.append((total // 2, total - total // 2))
    x = np.pad(x, ((0, 0), *pads, (0, 0)), constant_values=fill)
    reach = [(k - 1) * dilation + 1 for k in size]
    view = np.lib.stride_tricks.sliding_window_view(x, reach, axis=(1, 2))
    view = view[:, ::stride, ::stride, :, ::dilation, ::dilation]
    return view.transpose(0, 1, 2, 4, 5, 3)


def convolved(x, w, b, stride=1, dilation=1, same=True, groups=1):
    seen = windows(x, w.shape[1:3], stride, dilation, same, 0.0)
    parts = np.split(seen, groups, axis=-1)
    filters = np.split(w, groups, axis=0)
    sums = [np.einsum("nhwyxc,oyxc->nhwo", p, f) for p, f in zip(parts, filters, strict=True)]
    return np.concatenate(sums, axis=-1) + b


def depthwise(x, w, b, stride=1, same=True):
    seen = windows(x, w.shape[1:3], stride, 1, same, 0.0)
    many = w.shape[3] // x.shape[3]
    return (
        np.einsum("nhwyxc,yxcm->nhwcm", seen, w[0].reshape(*w.shape[1:3], -1, many)).reshape(
            *seen.shape[:3], -1
        )
        + b
    )


def pooled(x, size, stride, same, function):
    seen = windows(x, size, stride, 1, same, np.nan)
    return function(seen, axis=(3, 4))


def transposed_convolution(shape, w, x, stride, same):
    """Every input spreads the weights over the output, whose border is cut off."""
    whole = [(n - 1) * stride + k for n, k in zip(x.shape[1:3], w.shape[1:3], strict=True)]
    y = np.zeros((x.shape[0], *whole, w.shape[0]))
    for i in range(x.shape[1]):
        for j in range(x.shape[2]):
            spread = np.einsum("nc,oyxc->nyxo", x[:, i, j], w)
            at = slice(i * stride, i * stride + w.shape[1])
            y[:, at, j * stride : j * stride + w.shape[2]] += spread
    cut = [max(n - m, 0) // 2 if same else 0 for n, m in zip(whole, shape[1:3], strict=True)]
    return y[:, cut[0] : cut[0] + shape[1], cut[1] : cut[1] + shape[2]]


def resized(x, size, corners, centers, linear):
    """TensorFlow Lite's own coordinates, along height and width."""
    y = x
    for axis, n in zip((1, 2), size, strict=True):
        old = x.shape[axis]
        scale = (old - 1) / (n - 1) if corners and n > 1 else old / n
        at = (np.arange(n) + 0.5 * bool(centers)) * scale
        if linear:
            at = np.maximum(at - 0.5 * bool(centers), 0)
            low = np.minimum(np.floor(at), old - 1).astype(int)
            high = np.minimum(low + 1, old - 1)
            part = (at - low).reshape([-1 if i == axis else 1 for i in range(4)])
            y = np.take(y, low, axis) * (1 - part) + np.take(y, high, axis) * part
        else:
            at = np.floor(at + 0.5) if corners else np.floor(at)
            y = np.take(y, np.minimum(at, old - 1).astype(int), axis)
    return y


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def lstm(x, *parts):
    """Gates input, forget, cell, output; inputs are left out where `parts` has None."""
    w, r, b = parts[:4], parts[4:8], parts[11:15]
    h = c = np.zeros((x.shape[0], b[0].size))
    states = []
    for t in range(x.shape[1]):
        i, f, g, o = (x[:, t] @ w[k].T + h @ r[k].T + b[k] for k in range(4))
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        states.append(h)
    return np.stack(states, 1)
