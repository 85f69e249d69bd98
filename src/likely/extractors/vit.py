"""Vision transformers: the image networks of DINOv2 and CLIP, and the names under which their weights are published.

A picture is cut into patches, each patch becomes a token, a learned token is put in front, and after the blocks

    x <- x + scale_1 attention(norm_1 x),    x <- x + scale_2 mlp(norm_2 x)

the normalised first token is the feature. DINOv2 learned without labels and sees parts and shapes that ImageNet's
classes leave out; CLIP learned from captions.

Parameters are called here as in DINOv2's own files; `renamed` takes those of OpenAI's CLIP (also open_clip's) and of
the transformers library to the same names.

Reference: Dosovitskiy et al., An Image Is Worth 16x16 Words, 2021, arxiv.org/abs/2010.11929; Oquab et al., DINOv2,
2024, arxiv.org/abs/2304.07193; Radford et al., Learning Transferable Visual Models From Natural Language Supervision,
2021, arxiv.org/abs/2103.00020.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SIDE = 224  #: pictures are read at this many pixels


class Shape(NamedTuple):
    """What tells one vision transformer from another."""

    width: int
    heads: int
    patch: int  # pixels along a side
    learned: int  # patches along a side for which positions were learned
    depth: int = 12
    epsilon: float = 1e-5
    scaled: bool = False  # each branch of a block has a learned scale per channel
    clip: bool = False  # CLIP: normalised tokens before the blocks, no bias in the patches, x sigmoid(1.702 x)
    outputs: int = 0  # numbers the feature is projected to; 0 for no projection


DINOV2_SMALL = Shape(width=384, heads=6, patch=14, learned=37, epsilon=1e-6, scaled=True)
CLIP_BASE_32 = Shape(width=768, heads=12, patch=32, learned=7, clip=True, outputs=512)


class _Attention(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.heads = shape.heads
        self.qkv = nn.Linear(shape.width, 3 * shape.width)
        self.proj = nn.Linear(shape.width, shape.width)

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.proj(F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2))


class _MLP(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.clip = shape.clip
        self.fc1 = nn.Linear(shape.width, 4 * shape.width)
        self.fc2 = nn.Linear(4 * shape.width, shape.width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.fc1(x)
        return self.fc2(x * (1.702 * x).sigmoid() if self.clip else F.gelu(x))


class _Scale(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma


class _Block(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(shape.width, shape.epsilon)
        self.attn = _Attention(shape)
        self.ls1 = _Scale(shape.width) if shape.scaled else nn.Identity()
        self.norm2 = nn.LayerNorm(shape.width, shape.epsilon)
        self.mlp = _MLP(shape)
        self.ls2 = _Scale(shape.width) if shape.scaled else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.ls1(self.attn(self.norm1(x)))
        return x + self.ls2(self.mlp(self.norm2(x)))


class _Patches(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, shape.width, shape.patch, stride=shape.patch, bias=not shape.clip)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x).flatten(2).transpose(1, 2)


class VisionTransformer(nn.Module):
    """From normalised pictures, (B, 3, 224, 224), to the feature of the first token, (B, D)."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.learned, self.side = shape.learned, SIDE // shape.patch
        self.cls_token = nn.Parameter(torch.randn(1, 1, shape.width) * 0.02)
        self.pos_embed = nn.Parameter(torch.randn(1, 1 + shape.learned**2, shape.width) * 0.02)
        self.patch_embed = _Patches(shape)
        self.norm_pre = nn.LayerNorm(shape.width, shape.epsilon) if shape.clip else nn.Identity()
        self.blocks = nn.Sequential(*[_Block(shape) for _ in range(shape.depth)])
        self.norm = nn.LayerNorm(shape.width, shape.epsilon)
        self.head = nn.Linear(shape.width, shape.outputs, bias=False) if shape.outputs else nn.Identity()
        self.size = shape.outputs or shape.width

    def forward(self, x: Tensor) -> Tensor:
        patches = self.patch_embed(x)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), patches], 1) + self._positions()
        return self.head(self.norm(self.blocks(self.norm_pre(x))[:, 0]))

    def _positions(self) -> Tensor:
        """Return the learned positions, interpolated where pictures have fewer patches than in training.

        The scale is that of a side longer by 0.1 patches: DINOv2's own code rounds so, and its features depend on it.
        """
        if self.side == self.learned:
            return self.pos_embed
        first, patches = self.pos_embed[:, :1], self.pos_embed[:, 1:]
        plane = patches.unflatten(1, (self.learned, self.learned)).permute(0, 3, 1, 2)
        scale = (self.side + 0.1) / self.learned
        plane = F.interpolate(plane, scale_factor=(scale, scale), mode="bicubic")
        return torch.cat([first, plane.flatten(2).transpose(1, 2)], 1)


#: (pattern of a published name, name here), tried in order; "" for what is not needed
RENAMES = [
    # OpenAI's CLIP and open_clip
    (r"(?:visual\.)?transformer\.resblocks\.(\d+)\.attn\.in_proj_(weight|bias)", r"blocks.\1.attn.qkv.\2"),
    (r"(?:visual\.)?transformer\.resblocks\.(\d+)\.attn\.out_proj\.(.*)", r"blocks.\1.attn.proj.\2"),
    (r"(?:visual\.)?transformer\.resblocks\.(\d+)\.ln_(\d)\.(.*)", r"blocks.\1.norm\2.\3"),
    (r"(?:visual\.)?transformer\.resblocks\.(\d+)\.mlp\.c_fc\.(.*)", r"blocks.\1.mlp.fc1.\2"),
    (r"(?:visual\.)?transformer\.resblocks\.(\d+)\.mlp\.c_proj\.(.*)", r"blocks.\1.mlp.fc2.\2"),
    (r"visual\.class_embedding", "cls_token"),
    (r"visual\.positional_embedding", "pos_embed"),
    (r"visual\.conv1\.weight", "patch_embed.proj.weight"),
    (r"visual\.ln_pre\.(.*)", r"norm_pre.\1"),
    (r"visual\.ln_post\.(.*)", r"norm.\1"),
    (r"visual\.proj", "head.transposed"),
    # transformers: CLIP
    (r"vision_model\.embeddings\.class_embedding", "cls_token"),
    (r"vision_model\.embeddings\.position_embedding\.weight", "pos_embed"),
    (r"vision_model\.embeddings\.patch_embedding\.weight", "patch_embed.proj.weight"),
    (r"vision_model\.pre_layrnorm\.(.*)", r"norm_pre.\1"),
    (r"vision_model\.post_layernorm\.(.*)", r"norm.\1"),
    (r"vision_model\.encoder\.layers\.(\d+)\.layer_norm(\d)\.(.*)", r"blocks.\1.norm\2.\3"),
    (r"vision_model\.encoder\.layers\.(\d+)\.self_attn\.([qkv])_proj\.(.*)", r"blocks.\1.attn.\2.\3"),
    (r"vision_model\.encoder\.layers\.(\d+)\.self_attn\.out_proj\.(.*)", r"blocks.\1.attn.proj.\2"),
    (r"vision_model\.encoder\.layers\.(\d+)\.mlp\.(.*)", r"blocks.\1.mlp.\2"),
    (r"visual_projection\.weight", "head.weight"),
    # transformers: DINOv2
    (r"embeddings\.cls_token", "cls_token"),
    (r"embeddings\.position_embeddings", "pos_embed"),
    (r"embeddings\.patch_embeddings\.projection\.(.*)", r"patch_embed.proj.\1"),
    (r"encoder\.layer\.(\d+)\.norm(\d)\.(.*)", r"blocks.\1.norm\2.\3"),
    (r"encoder\.layer\.(\d+)\.attention\.attention\.([qkv])(?:uery|ey|alue)\.(.*)", r"blocks.\1.attn.\2.\3"),
    (r"encoder\.layer\.(\d+)\.attention\.output\.dense\.(.*)", r"blocks.\1.attn.proj.\2"),
    (r"encoder\.layer\.(\d+)\.layer_scale(\d)\.lambda1", r"blocks.\1.ls\2.gamma"),
    (r"encoder\.layer\.(\d+)\.mlp\.(.*)", r"blocks.\1.mlp.\2"),
    (r"layernorm\.(.*)", r"norm.\1"),
    # of the text, or of training alone
    (r"(?:embeddings\.)?mask_token|.*position_ids|logit_scale|token_embedding\..*|positional_embedding", ""),
    (r"text_projection.*|ln_final\..*|text_model\..*|input_resolution|context_length|vocab_size|attn_mask", ""),
]


def renamed(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return published weights under the names of `VisionTransformer`; names that are not known are kept.

    CLIP's text network has blocks called `transformer.resblocks` too, beside the image network's `visual.`: where both
    are there, the text's are left out.
    """
    if any(name.startswith("visual.") for name in tensors):
        tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith("transformer.")}
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        new = next((re.sub(pattern, here, name) for pattern, here in RENAMES if re.fullmatch(pattern, name)), name)
        if new:
            found[new] = tensor
    for name in [name for name in found if re.search(r"attn\.q\.", name)]:
        parts = [found.pop(name.replace(".q.", f".{which}.")) for which in "qkv"]
        found[name.replace(".q.", ".qkv.")] = torch.cat(parts)
    if "head.transposed" in found:
        found["head.weight"] = found.pop("head.transposed").T
    for name, dimensions in (("cls_token", 3), ("pos_embed", 3)):
        while name in found and found[name].dim() < dimensions:
            found[name] = found[name][None]
    return found
