"""Whether two pictures show the same pixels, also cropped, rescaled, recompressed, turned or mirrored.

Local features (SIFT: Lowe, IJCV 2004; RootSIFT: Arandjelovic and Zisserman, CVPR 2012) and thumbnails name candidates;
a candidate counts when its aligned pixels correlate. The thresholds below lie in gaps measured on photos: 399 x 219
pairs of different pictures (BSDS500 with Set5, Set14, B100 and Urban100), and altered copies (crops down to a tenth,
0.25x to 4x, JPEG down to quality 20, turned, mirrored, other brightness, contrast and gamma, pasted into photos).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from fsr.images import to_bytes

LONGEST_SIDE = 640  # larger pictures are reduced to it, which brings their scales together and is fast
FEATURES = 500  # of a picture; a crop of a tenth keeps 20 or more of them
CONTRAST = 0.02  # SIFT's least contrast, half of OpenCV's default, so that soft pictures have features too
PLACES = 4  # features are spread over a grid of 4 x 4 places
PROBES = 250  # features of a test picture that every training picture is compared with
COLUMNS = 8  # test pictures compared at once, so that the similarities stay in the processor's cache
SIMILARITY = 0.8  # of descriptors that may show the same; what lies below is not worth a vote
RATIO = 0.85  # of descriptor distances, to the nearest and to an unrelated one: a match must stand out
BACKGROUND = 4  # test pictures that may show the same thing; the next nearest is an unrelated one
VOTES = 5  # matching features of a candidate: 0.1 % of the pairs of different pictures have them, most copies 10 to 200
PIXELS_OFF = 3.0  # distance in pixels within which a feature agrees with an alignment
INLIERS = 5  # features that agree, where two define an alignment: 4 of the 87,381 pairs of different pictures have them
LARGEST_SCALE = 8.0  # between reduced pictures; beyond it too few pixels are left to compare
SHARE = 0.1  # of the smaller picture that both must show: different pictures agree on 0.03, a wing or a face
LEAST_PIXELS = 400  # that both must show
SMOOTHING = 1.0  # standard deviation in pixels of the blur before correlation: alignments are off by a fraction
CORRELATION = 0.8  # of aligned pixels: at most 0.45 for different pictures, 0.9 and more for copies
THUMBNAIL = 24  # side of the thumbnails, for pictures too soft to have features
THUMBNAIL_CONTRAST = 2.0  # grey levels of standard deviation in a thumbnail that tells anything; photos have 8 and more
THUMBNAIL_CORRELATION = 0.9  # at most 0.7 for different pictures, 0.96 and more for nearly all copies

METHOD = {  # what a report should say of how pictures were compared
    "features": f"RootSIFT, OpenCV {cv2.__version__}",
    "longest_side": LONGEST_SIDE,
    "features_per_image": FEATURES,
    "sift_contrast": CONTRAST,
    "probes_per_test_image": PROBES,
    "similarity": SIMILARITY,
    "ratio": RATIO,
    "background": BACKGROUND,
    "votes": VOTES,
    "pixels_off": PIXELS_OFF,
    "inliers": INLIERS,
    "largest_scale": LARGEST_SCALE,
    "share": SHARE,
    "least_pixels": LEAST_PIXELS,
    "smoothing": SMOOTHING,
    "correlation": CORRELATION,
    "thumbnail": THUMBNAIL,
    "thumbnail_contrast": THUMBNAIL_CONTRAST,
    "thumbnail_correlation": THUMBNAIL_CORRELATION,
}


@dataclass(frozen=True, eq=False)
class Sketch:
    """What is kept of a picture of any size: at most 0.6 MB."""

    grey: np.ndarray  # (H, W) uint8, the longer side at most LONGEST_SIDE
    reduction: float  # pixels of the picture per pixel of `grey`, at least 1
    points: np.ndarray  # (N, 2) float32, x and y in `grey`, N at most FEATURES
    descriptors: np.ndarray  # (N, 128) float32 of unit length
    thumbnail: np.ndarray  # (THUMBNAIL**2,) float32 of unit length, or zero where there is nothing to tell by

    def mirrored(self) -> "Sketch":
        """The sketch of the picture with left and right exchanged, its features likewise (no second detection)."""
        grey = np.ascontiguousarray(self.grey[:, ::-1])
        points = np.stack([self.grey.shape[1] - 1 - self.points[:, 0], self.points[:, 1]], axis=1)
        # A descriptor is (4 across the gradient, 4 along it, 8 directions): the first is reversed, angles change sign.
        descriptors = self.descriptors.reshape(-1, 4, 4, 8)[:, ::-1, :, -np.arange(8)].reshape(-1, 128)
        thumbnail = self.thumbnail.reshape(THUMBNAIL, THUMBNAIL)[:, ::-1].ravel()
        return Sketch(grey, self.reduction, points, np.ascontiguousarray(descriptors), thumbnail)


@dataclass(frozen=True, eq=False)
class Alignment:
    """How a training picture lies over a test picture; both as reduced for their sketches, pixels as (x, y)."""

    affine: np.ndarray  # (2, 3) float64, training pixels to test pixels
    region: np.ndarray  # (P, 2) float32, the convex polygon of what both show, in test pixels
    overlap: float  # its share of the test picture
    correlation: float  # zero-mean normalised correlation of the pixels in it
    inliers: int  # features that agree; 0 where thumbnails alone told

    @property
    def scale(self) -> float:
        """Test pixels per training pixel."""
        return _scale(self.affine)

    @property
    def rotation(self) -> float:
        """Degrees clockwise, from training to test picture."""
        return float(np.degrees(np.arctan2(self.affine[1, 0], self.affine[0, 0])))


def reduced(image: Tensor) -> np.ndarray:
    """(H, W, 3) uint8, the longer side at most LONGEST_SIDE, from (1, 3, H, W) in [0, 1]."""
    pixels = to_bytes(image[0]).permute(1, 2, 0).numpy()
    height, width = pixels.shape[:2]
    factor = LONGEST_SIDE / max(height, width)
    if factor >= 1:
        return np.ascontiguousarray(pixels)
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)


def sketch(image: Tensor) -> Sketch:
    """What is kept of an image, (1, 3, H, W) in [0, 1]."""
    grey = cv2.cvtColor(reduced(image), cv2.COLOR_RGB2GRAY)
    detector = cv2.SIFT_create(contrastThreshold=CONTRAST, enable_precise_upscale=True)
    keypoints, descriptors = detector.detectAndCompute(grey, None)
    reduction = max(image.shape[-2:]) / max(grey.shape)
    if not keypoints:
        empty = np.zeros((0, 2), np.float32), np.zeros((0, 128), np.float32)
        return Sketch(grey, reduction, *empty, _thumbnail(grey))
    chosen = _spread(keypoints, grey.shape)
    roots = np.sqrt(descriptors[chosen] / descriptors[chosen].sum(axis=1, keepdims=True))
    points = np.array([keypoints[index].pt for index in chosen], np.float32)
    return Sketch(grey, reduction, points, roots, _thumbnail(grey))


def _spread(keypoints: Sequence[cv2.KeyPoint], shape: tuple[int, int]) -> np.ndarray:
    """Indices of FEATURES keypoints: the strongest of every cell and octave, then the second strongest of each, ..."""
    x, y, size, strength = np.array([(*point.pt, point.size, point.response) for point in keypoints]).T
    row, column = (y * PLACES / shape[0]).astype(int), (x * PLACES / shape[1]).astype(int)
    group = np.stack([row, column, np.log2(size).astype(int)])
    order = np.lexsort([x, y, -strength, *group])
    changes = np.any(np.diff(group[:, order], axis=1) != 0, axis=0)
    starts = np.concatenate([[0], np.flatnonzero(changes) + 1])
    rank = np.arange(len(order)) - np.repeat(starts, np.diff([*starts, len(order)]))
    return order[np.lexsort([-strength[order], rank])][:FEATURES]


def _thumbnail(grey: np.ndarray) -> np.ndarray:
    """What is left of a thumbnail without the quadratic surface nearest to it, at unit length."""
    small = cv2.resize(grey.astype(np.float64), (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA).ravel()
    axis = np.linspace(-1, 1, THUMBNAIL)
    powers = [(i, j) for i in range(3) for j in range(3 - i)]
    surfaces, _ = np.linalg.qr(np.stack([np.outer(axis**i, axis**j).ravel() for i, j in powers], axis=1))
    left = small - surfaces @ (surfaces.T @ small)
    tells = left.std() >= THUMBNAIL_CONTRAST
    return (left / np.linalg.norm(left) if tells else np.zeros_like(left)).astype(np.float32)


class Gallery:
    """Sketches of test pictures that a training picture is searched among."""

    def __init__(self, sketches: Sequence[Sketch]) -> None:
        self.sketches = list(sketches)
        both = [*self.sketches, *(each.mirrored() for each in self.sketches)]
        probes = np.zeros((len(both), PROBES, 128), np.float32)
        for rows, each in zip(probes, both, strict=True):
            rows[: len(each.descriptors)] = each.descriptors[:PROBES]
        self._probes = [chunk.flatten(0, 1).T.contiguous() for chunk in torch.from_numpy(probes).split(COLUMNS)]
        self._thumbnails = np.stack([each.thumbnail for each in both])

    def candidates(self, train: Sketch) -> list[tuple[int, bool]]:
        """(index of a test picture, whether it is mirrored) of those `train` may show, in that order."""
        likely = self._thumbnails @ train.thumbnail >= THUMBNAIL_CORRELATION
        if len(train.descriptors):
            likely |= self._votes(torch.from_numpy(train.descriptors)) >= VOTES
        count = len(self.sketches)
        return sorted((int(column) % count, bool(column >= count)) for column in np.flatnonzero(likely))

    def _votes(self, descriptors: Tensor) -> np.ndarray:
        """For each test picture and each mirror image, how many of the (N, 128) descriptors it has a match of."""
        nearest = torch.cat([(descriptors @ chunk).unflatten(1, (-1, PROBES)).amax(2) for chunk in self._probes], dim=1)
        if nearest.shape[1] <= BACKGROUND:
            return (nearest >= SIMILARITY).sum(0).numpy()
        unrelated = nearest.topk(BACKGROUND + 1, dim=1).values[:, -1:]
        return ((nearest >= SIMILARITY) & _stands_out(nearest, unrelated)).sum(0).numpy()


def _stands_out(similarity: Tensor, other: Tensor) -> Tensor:
    """Whether a unit descriptor's distance, sqrt(2 - 2 similarity), is below RATIO times that to the other."""
    return 1 - similarity <= RATIO**2 * (1 - other)


def align(train: Sketch, test: Sketch) -> Alignment | None:
    """How `train` lies over `test`, None where no alignment makes their pixels agree."""
    for affine, agreeing in _proposals(train, test):
        for region in _regions(train, test, affine, agreeing):
            area, test_area = cv2.contourArea(region), float(test.grey.size)
            smaller = min(test_area, train.grey.size * _scale(affine) ** 2)
            if area < SHARE * smaller:
                continue
            correlation = _correlation(train.grey, test.grey, affine, region)
            if correlation >= CORRELATION:
                return Alignment(affine, region, min(1.0, area / test_area), correlation, len(agreeing))
    return None


def _proposals(train: Sketch, test: Sketch) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Maps from training to test pixels, each with the (N, 2) test points that agree with it."""
    i, j = _pairs(train.descriptors, test.descriptors)
    if len(i) >= INLIERS:
        affine, agrees = cv2.estimateAffinePartial2D(
            train.points[i], test.points[j], method=cv2.RANSAC, ransacReprojThreshold=PIXELS_OFF
        )
        possible = affine is not None and 1 / LARGEST_SCALE <= _scale(affine) <= LARGEST_SCALE
        if possible and agrees.sum() >= INLIERS:
            yield affine, test.points[j][agrees.ravel() > 0]
    if train.thumbnail @ test.thumbnail >= THUMBNAIL_CORRELATION:
        y, x = np.array(test.grey.shape) / train.grey.shape
        yield np.array([[x, 0, (x - 1) / 2], [0, y, (y - 1) / 2]]), np.zeros((0, 2), np.float32)


def _pairs(train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Indices of descriptors that are each other's nearest and stand out from the second nearest."""
    if min(len(train), len(test)) < INLIERS:
        return np.zeros(0, int), np.zeros(0, int)
    similarity = torch.from_numpy(train) @ torch.from_numpy(test).T
    values, nearest = similarity.topk(2, dim=1)
    indices = torch.arange(len(train))
    mutual = similarity.argmax(0)[nearest[:, 0]] == indices
    kept = mutual & _stands_out(values[:, 0], values[:, 1])
    return indices[kept].numpy(), nearest[kept, 0].numpy()


def _regions(train: Sketch, test: Sketch, affine: np.ndarray, agreeing: np.ndarray) -> Iterator[np.ndarray]:
    """Convex polygons in test pixels: where the frames overlap, then (for collages) where features agree."""
    _, overlap = cv2.intersectConvexConvex(_frame(test.grey), cv2.transform(_frame(train.grey)[None], affine)[0])
    for region in (overlap, cv2.convexHull(agreeing) if len(agreeing) else None):
        if region is not None and len(region) > 2:
            yield region.reshape(-1, 2)


def _frame(grey: np.ndarray) -> np.ndarray:
    """(4, 2) outermost corners of a picture's pixels."""
    height, width = grey.shape
    return np.array([(0, 0), (width, 0), (width, height), (0, height)], np.float32) - np.float32(0.5)


def _scale(affine: np.ndarray) -> float:
    return float(np.sqrt(abs(np.linalg.det(affine[:, :2]))))


def _correlation(train: np.ndarray, test: np.ndarray, affine: np.ndarray, region: np.ndarray) -> float:
    """Correlation inside `region`, at the pixels of the coarser picture; 0 where there are too few of them."""
    scale = _scale(affine)
    if scale > 1:
        inverse = cv2.invertAffineTransform(affine)
        return _correlation(test, train, inverse, cv2.transform(region[None], inverse)[0])
    fine, coarse = train.astype(np.float32), test.astype(np.float32)
    if scale < 1:  # what the coarser picture cannot show
        fine = cv2.GaussianBlur(fine, (0, 0), max(0.5 * np.sqrt(1 / scale**2 - 1), 0.01))
    warped = cv2.warpAffine(fine, affine, coarse.shape[::-1], flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    inside = cv2.fillConvexPoly(np.zeros(coarse.shape, np.uint8), np.rint(region).astype(np.int32), 1) > 0
    if inside.sum() < LEAST_PIXELS:
        return 0.0
    a, b = (cv2.GaussianBlur(each, (0, 0), SMOOTHING)[inside].astype(np.float64) for each in (warped, coarse))
    a, b = a - a.mean(), b - b.mean()
    return float(a @ b / max(np.sqrt((a @ a) * (b @ b)), 1e-9))
