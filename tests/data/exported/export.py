"""Writes the models of this folder: small networks of many kinds, by both exporters of PyTorch.

`python export.py` needs torch and onnxscript; the files here are of torch 2.13.0 and onnxscript
0.7.2. Beside every model `<net>_<exporter>.onnx` lie samples and what PyTorch computes:
`samples.npz` with `<net>_x0`, ... and `<net>_y0`, ... Some are exported with an open batch too,
`<net>_<exporter>_batch.onnx`. The exporters' notes on source lines and paths are left out.
"""

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import Tensor, nn
from torch.nn import functional

FOLDER = Path(__file__).parent


class Residual(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(x + self.inner(x))


class SqueezeExcite(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.down, self.up = nn.Conv2d(channels, 2, 1), nn.Conv2d(2, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        pooled = functional.adaptive_avg_pool2d(x, 1)
        return x * functional.hardsigmoid(self.up(functional.relu(self.down(pooled))))


class Attention(nn.Module):
    """Pre-norm encoder block with learned positions, mean over the tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.position = nn.Linear(6, 8), nn.Parameter(torch.randn(1, 5, 8))
        self.norm1, self.norm2 = nn.LayerNorm(8), nn.LayerNorm(8)
        self.qkv, self.out = nn.Linear(8, 24), nn.Linear(8, 8)
        self.wide, self.narrow, self.head = nn.Linear(8, 16), nn.Linear(16, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x) + self.position
        b, t, c = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(b, t, 3, 2, c // 2).permute(2, 0, 3, 1, 4).unbind(0)
        y = functional.scaled_dot_product_attention(q, k, v)
        x = x + self.out(y.transpose(1, 2).reshape(b, t, c))
        x = x + self.narrow(functional.gelu(self.wide(self.norm2(x))))
        return self.head(x.mean(dim=1))


class Encoder(nn.Module):
    """PyTorch's own encoder layer and its attention."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(8, 2, 12, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)[:, 0]


class Sequence(nn.Module):
    """The last step of a recurrent layer, classified."""

    def __init__(self, layer: nn.Module, width: int) -> None:
        super().__init__()
        self.layer, self.head = layer, nn.Linear(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        y, _ = self.layer(x)
        return functional.log_softmax(self.head(y[:, -1]), dim=-1)


class Causal(nn.Module):
    """A temporal convolution that sees only the past."""

    def __init__(self, before: int, after: int, dilation: int) -> None:
        super().__init__()
        self.left = 2 * dilation
        self.conv = nn.Conv1d(before, after, 3, dilation=dilation)
        self.norm, self.skip = nn.BatchNorm1d(after), nn.Conv1d(before, after, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.norm(self.conv(functional.pad(x, (self.left, 0)))))
        return y + self.skip(x)


class UNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(1, 4, 3, padding=1)
        self.inner = nn.Conv2d(4, 8, 3, padding=1)
        self.up, self.out = nn.Conv2d(12, 4, 3, padding=1), nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        skip = functional.relu(self.down(x))
        y = functional.relu(self.inner(functional.max_pool2d(skip, 2)))
        y = functional.interpolate(y, scale_factor=2, mode="bilinear", align_corners=False)
        y = functional.relu(self.up(torch.cat([y, skip], dim=1)))
        return torch.sigmoid(self.out(y))


class ConvNext(nn.Module):
    """Large depthwise window, LayerNorm over the channels, inverted bottleneck."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.depthwise = nn.Conv2d(3, 8, 2, 2), nn.Conv2d(8, 8, 5, padding=2, groups=8)
        self.norm, self.wide, self.narrow = nn.LayerNorm(8), nn.Linear(8, 16), nn.Linear(16, 8)
        self.scale, self.head = nn.Parameter(torch.rand(8)), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        y = self.scale * self.narrow(functional.gelu(self.wide(y), approximate="tanh"))
        x = x + y.permute(0, 3, 1, 2)
        return self.head(x.mean([-2, -1]))


class Shuffle(nn.Module):
    """Half of the channels pass, the others are convolved, then both are shuffled."""

    def __init__(self) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            nn.Conv2d(4, 4, 1), nn.ReLU6(), nn.Conv2d(4, 4, 3, padding=1, groups=4), nn.PReLU(4)
        )

    def forward(self, x: Tensor) -> Tensor:
        a, b = x.chunk(2, dim=1)
        y = torch.cat([a, self.branch(b)], dim=1)
        n, c, h, w = y.shape
        return y.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)


class Words(nn.Module):
    """The mean of embeddings; integers in."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.head = nn.Embedding(20, 6), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.table(x).mean(dim=1)).softmax(dim=-1)


class Sensor(nn.Module):
    """Statistics of windows, standardized; two inputs, two outputs."""

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        x = (x - x.mean(-1, keepdim=True)) / (x.std(-1, keepdim=True, unbiased=False) + 1e-3)
        energy = x.pow(2).sum(-1).sqrt()
        both = torch.where(y > 0, torch.stack([energy, x.amax(-1)], -1).amin(-1), y.clamp(-2, 2))
        return both, torch.argmax(x, dim=-1)


def conv_bn(before: int, after: int, size: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(before, after, size, stride, size // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(after), nn.ReLU())


NETS: dict[str, tuple[Callable[[], nn.Module], tuple[tuple[int, ...], ...]]] = {
    "cnn": (lambda: nn.Sequential(
        conv_bn(1, 4, 3), nn.MaxPool2d(2), conv_bn(4, 6, 3), nn.AvgPool2d(2), nn.Flatten(),
        nn.Dropout(0.5), nn.Linear(24, 5), nn.Softmax(dim=1)), ((1, 1, 8, 8),)),
    "depthwise": (lambda: nn.Sequential(
        conv_bn(1, 6, 3, 2), conv_bn(6, 6, 3, groups=6), conv_bn(6, 8, 1),
        nn.AdaptiveAvgPool2d((1, 1)), nn.Flatten(), nn.Linear(8, 4)), ((1, 1, 10, 8),)),
    "squeeze_excite": (lambda: nn.Sequential(
        nn.Conv2d(3, 6, 3, 2, 1), nn.Hardswish(), SqueezeExcite(6), nn.Conv2d(6, 4, 1)),
        ((1, 3, 8, 8),)),
    "residual": (lambda: nn.Sequential(
        conv_bn(2, 4, 3), Residual(nn.Sequential(conv_bn(4, 4, 3), nn.Conv2d(4, 4, 3, 1, 1))),
        nn.MaxPool2d(3, 2, 1, ceil_mode=True)), ((1, 2, 7, 9),)),
    "inverted_bottleneck": (lambda: nn.Sequential(
        Residual(nn.Sequential(
            nn.Conv2d(4, 12, 1), nn.ReLU6(), nn.Conv2d(12, 12, 3, 1, 1, groups=12), nn.ReLU6(),
            nn.Conv2d(12, 4, 1))), nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(4, 4, 3, 2), nn.SiLU()),
        ((1, 4, 6, 6),)),
    "attention": (Attention, ((1, 5, 6),)),
    "encoder": (Encoder, ((1, 5, 8),)),
    "lstm": (lambda: Sequence(nn.LSTM(3, 6, batch_first=True), 6), ((1, 7, 3),)),
    "lstm_deep": (lambda: Sequence(
        nn.LSTM(3, 4, num_layers=2, bidirectional=True, batch_first=True), 8), ((1, 5, 3),)),
    "gru": (lambda: Sequence(nn.GRU(3, 6, batch_first=True), 6), ((1, 7, 3),)),
    "tcn": (lambda: nn.Sequential(
        Causal(2, 4, 1), Causal(4, 4, 2), Causal(4, 4, 4), nn.AdaptiveMaxPool1d(1),
        nn.Flatten(), nn.Linear(4, 3)), ((1, 2, 20),)),
    "autoencoder": (lambda: nn.Sequential(
        nn.Conv2d(1, 4, 3, 2, 1), nn.ELU(), nn.Flatten(), nn.Linear(64, 6), nn.Tanh(),
        nn.Linear(6, 64), nn.LeakyReLU(0.2), nn.Unflatten(1, (4, 4, 4)),
        nn.ConvTranspose2d(4, 1, 3, 2, 1, output_padding=1), nn.Sigmoid()), ((1, 1, 8, 8),)),
    "unet": (UNet, ((1, 1, 8, 8),)),
    "upsampler": (lambda: nn.Sequential(
        nn.Conv2d(2, 8, 3, padding=1, padding_mode="reflect"), nn.PixelShuffle(2),
        nn.Upsample(scale_factor=2, mode="nearest"), nn.Softplus()), ((1, 2, 4, 5),)),
    "convnext": (ConvNext, ((1, 3, 8, 8),)),
    "shuffle": (Shuffle, ((1, 8, 5, 5),)),
    "norms": (lambda: nn.Sequential(
        nn.Conv2d(2, 6, 3), nn.GroupNorm(3, 6), nn.Mish(), nn.Conv2d(6, 4, 1),
        nn.InstanceNorm2d(4, affine=True), nn.GELU(), nn.LocalResponseNorm(3)), ((1, 2, 6, 6),)),
    "words": (Words, ((1, 9),)),
    "sensor": (Sensor, ((2, 3, 10), (2, 3))),
}  # fmt: skip
WITH_OPEN_BATCH = "cnn attention encoder lstm lstm_deep gru unet shuffle convnext words".split()


def export() -> None:
    samples: dict[str, np.ndarray] = {}
    for number, (name, (build, shapes)) in enumerate(NETS.items()):
        torch.manual_seed(number)
        net = build().eval()
        for module in net.modules():  # statistics as a training would leave them
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                nn.init.uniform_(module.running_mean, -0.5, 0.5)
                nn.init.uniform_(module.running_var, 0.5, 2.0)
        whole = name == "words"
        given = [torch.randint(20, s) if whole else torch.randn(s) for s in shapes]
        with torch.no_grad():
            found = net(*given)
        samples |= {f"{name}_x{i}": x.numpy() for i, x in enumerate(given)}
        results = found if isinstance(found, tuple) else (found,)
        samples |= {f"{name}_y{i}": y.numpy() for i, y in enumerate(results)}
        for exporter in (dynamo, legacy):
            for batch in (False, True) if name in WITH_OPEN_BATCH else (False,):
                suffix = "_batch" if batch else ""
                path = FOLDER / f"{name}_{exporter.__name__}{suffix}.onnx"
                exporter(net, tuple(given), path, batch)
                strip(path)
    np.savez_compressed(FOLDER / "samples.npz", **samples)


def dynamo(net: nn.Module, given: tuple[Tensor, ...], path: Path, batch: bool) -> None:
    shapes = ({0: torch.export.Dim("batch")},) * len(given) if batch else None
    torch.onnx.export(
        net, given, str(path), dynamic_shapes=shapes, external_data=False, verbose=False
    )


def legacy(net: nn.Module, given: tuple[Tensor, ...], path: Path, batch: bool) -> None:
    axes = {"input": {0: "batch"}, "output": {0: "batch"}} if batch else None
    torch.onnx.export(
        net, given, str(path), dynamo=False, input_names=["input"] if batch else None,
        output_names=["output"] if batch else None, dynamic_axes=axes,
    )  # fmt: skip


def strip(path: Path) -> None:
    """Take out what tells of the machine that wrote the file."""
    model = onnx.load(str(path))
    for part in (model, model.graph, *model.functions):
        del part.metadata_props[:]
    for graph in (model.graph, *model.functions):
        for item in graph.node:
            del item.metadata_props[:]
            item.doc_string = ""
    values = (*model.graph.value_info, *model.graph.input, *model.graph.output)
    for value in (*values, *model.graph.initializer):
        del value.metadata_props[:]
    onnx.save(model, str(path))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    export()
