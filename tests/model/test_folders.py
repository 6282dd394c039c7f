"""Folders of clips: every layout as it is distributed, splits without leakage, the cache, and what goes wrong."""

import errno
import os
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fdht.model.data import FOLDERS, Source, VideoFolder, load, own, video
from fdht.model.data.folders import Hmdb51, Recording, Ucf11, Ucf50, YouTubeFaces, dealt
from fdht.spec.errors import FileError, SpecError
from tests.model.videos import write_garbage, write_video


def levels(split) -> list[list[int]]:
    """Grey level of every step of every clip, to the nearest ten: lossy codecs are off by a little."""
    return (split.clips.mean(2) / 10).round().astype(int).tolist()


def clip_of_lossless(tmp_path: Path, count: int, frames: int) -> np.ndarray:
    path = tmp_path / f"{count}.avi"
    write_video(path, count, codec="ffv1")
    return video.clip(path, frames, None)


@pytest.mark.parametrize(
    ("count", "frames", "expected"), [(6, 6, range(6)), (12, 6, range(1, 12, 2)), (20, 3, (3, 10, 16)), (7, 1, (3,))]
)
def test_frames_are_the_middles_of_equal_parts(tmp_path, count, frames, expected):
    clip = clip_of_lossless(tmp_path, count, frames)
    assert clip.shape == (frames, 160 * 120 * 3) and clip.dtype == np.uint8
    assert [set(row) for row in clip.tolist()] == [{10 * number} for number in expected]


def test_pixels_lie_row_by_row_with_the_channels_fastest(tmp_path):
    picture = np.zeros((120, 160, 3), dtype=np.uint8)
    picture[3, 7] = (10, 20, 30)
    Image.fromarray(picture).save(tmp_path / "picture.png")
    clip = video.clip(tmp_path / "picture.png", 1, None)
    assert np.array_equal(clip.reshape(120, 160, 3), picture)
    assert clip[0, 3 * (160 * 3 + 7) : 3 * (160 * 3 + 7) + 3].tolist() == [10, 20, 30]


def test_a_folder_of_pictures_is_a_clip_in_the_order_of_names(tmp_path):
    for number in (2, 0, 3, 1):
        Image.new("L", (16, 12), 10 * number).save(tmp_path / f"{number:03}.png")
    (tmp_path / "notes.txt").write_text("not a picture")
    assert video.clip(tmp_path, 4, None)[:, 0].tolist() == [0, 10, 20, 30]


def make_ucf11(root: Path) -> None:
    for label, stem in (("basketball", "shooting"), ("walking", "walk_dog")):
        for group in range(1, 6):
            for clip in (1, 2):
                name = f"v_{stem}_{group:02}"
                write_video(root / label / name / f"{name}_{clip:02}.mpg", shade=10 * group)
        (root / label / "Annotation").mkdir()
        (root / label / "Annotation" / f"v_{stem}_01_01.xgtf").write_text("<viper/>")


def make_ucf50(root: Path) -> None:
    for label, stem in (("BaseballPitch", "BaseballPitch"), ("Billiards", "Billards")):
        for group in range(1, 6):
            for clip in (1, 2):
                write_video(root / label / f"v_{stem}_g{group:02}_c{clip:02}.avi", shade=10 * group)


def make_hmdb51(root: Path) -> None:
    for label in ("brush_hair", "kick_ball"):
        for number, source in enumerate(("April_09", "Slave_brush_my_hair", "a_film", "b", "c")):
            for clip in (0, 1):
                write_video(root / label / f"{source}_{label}_u_nm_np1_ba_goo_{clip}.avi", shade=10 * number)


def make_youtube_faces(root: Path) -> None:
    number = 1
    for person in ("al_gore", "jet_li"):
        for tape in (1, 2, 3):
            for clip in (1, 2):
                write_video(root / f"{number:04}_{tape:02}_{clip:03}_{person}.avi", shade=10 * tape)
                number += 1


def make_own(root: Path) -> None:
    for label in ("cat", "dog"):
        for group in range(5):
            write_video(root / label / f"source {group}" / "a.mp4", shade=10 * group)
            write_video(root / label / f"source {group}" / "b.avi", shade=10 * group)


LAYOUTS = {
    "ucf11": (make_ucf11, {"basketball", "walking"}, 5),
    "ucf50": (make_ucf50, {"BaseballPitch", "Billiards"}, 5),
    "hmdb51": (make_hmdb51, {"brush_hair", "kick_ball"}, 5),
    "youtube-faces": (make_youtube_faces, {"al_gore", "jet_li"}, 3),
    "folder": (make_own, {"cat", "dog"}, 5),
}


@pytest.fixture(scope="module")
def roots(tmp_path_factory) -> dict[str, Path]:
    """Every layout with two classes, two clips a group."""
    folders = {name: tmp_path_factory.mktemp(name) for name in LAYOUTS}
    for name, root in folders.items():
        LAYOUTS[name][0](root)
    return folders


def test_every_folder_data_set_is_tested():
    assert FOLDERS.keys() == LAYOUTS.keys()


@pytest.mark.parametrize("name", LAYOUTS)
def test_recordings_of_every_layout(roots, name):
    found = list(FOLDERS[name]().recordings(roots[name]))
    groups = defaultdict(list)
    for recording in found:
        groups[recording.label, recording.group].append(recording.path)
    _, labels, count = LAYOUTS[name]
    assert {label for label, _ in groups} == labels and len(groups) == 2 * count
    assert all(len(set(paths)) == 2 for paths in groups.values())


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("split", ["group", "clip"])
def test_clips_of_every_layout(roots, name, split):
    """Shapes, and by the shade of its group that every clip is where it belongs."""
    data = load(Source(name, str(roots[name]), split=split), cache=None)
    _, labels, groups = LAYOUTS[name]
    assert data.class_names == tuple(sorted(labels)) and not data.skipped
    assert (data.inputs, data.steps, data.image_shape) == (57600, 6, (120, 160, 3))
    parts = [data.train, data.validation, data.test]
    assert sum(map(len, parts)) == len(data.final) + len(data.test) == 4 * groups
    shades = [{(label, clip[0]) for label, clip in zip(part.labels, levels(part), strict=True)} for part in parts]
    assert len(set.union(*shades)) == 2 * groups
    assert all(np.diff(levels(part)).tolist() == [[2] * 5] * len(part) for part in parts)
    if split == "group":
        assert sum(map(len, shades)) == 2 * groups  # no group is on two sides
    else:
        assert sum(map(len, shades)) > 2 * groups


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_folds_test_every_clip_once(roots, name):
    layout = FOLDERS[name]()
    found = list(layout.recordings(roots[name]))
    for split, folds in (("group", LAYOUTS[name][2]), ("clip", 5)):
        rounds = [layout.parts(roots[name], found, split, fold) for fold in range(folds)]
        for sides in zip(*rounds, strict=True):
            assert sides.count("test") == sides.count("validation") == 1
        assert rounds[0] == layout.parts(roots[name], found, split, 0)


def test_dealing_keeps_units_together_and_every_class_everywhere():
    labels = ["a"] * 12 + ["b"] * 3
    units = [str(k // 2) for k in range(12)] + ["0", "1", "2"]
    parts = dealt(labels, units, 3)
    assert all(parts[k] == parts[k + 1] for k in range(0, 12, 2))
    assert set(parts[:12]) == set(parts[12:]) == {"train", "validation", "test"}


def test_ucf11_without_group_folders(tmp_path):
    """Some copies have the clips of a class in one folder."""
    make_ucf11(tmp_path)
    for file in tmp_path.rglob("*.mpg"):
        file.rename(file.parent.parent / file.name)
    assert {(r.label, r.group) for r in Ucf11().recordings(tmp_path) if r.label == "walking"} == {
        ("walking", f"v_walk_dog_{group:02}") for group in range(1, 6)
    }


def test_a_folder_around_the_data_set_does_no_harm(roots, tmp_path):
    (tmp_path / "UCF11_updated_mpg").symlink_to(roots["ucf11"])
    inside = [(r.label, r.group) for r in Ucf11().recordings(tmp_path / "UCF11_updated_mpg")]
    (tmp_path / "outer").mkdir()
    roots["ucf50"].rename(tmp_path / "outer" / "UCF50")
    outside = [(r.label, r.group) for r in Ucf50().recordings(tmp_path / "outer")]
    (tmp_path / "outer" / "UCF50").rename(roots["ucf50"])
    assert len(inside) == len(outside) == 20 and {label for label, _ in outside} == LAYOUTS["ucf50"][1]


def test_hmdb51_groups_are_sources():
    names = {
        "brush_hair/April_09_brush_hair_u_nm_np1_ba_goo_0.avi": "April_09",
        "dribble/10YearOldYouthBasketballStar_dribble_f_cm_np1_ba_med_5.avi": "10YearOldYouthBasketballStar",
        "sword/a_sword_fight_sword_l_cm_np2_fr_bad_11.avi": "a_sword_fight",
    }
    for name, group in names.items():
        match = Hmdb51._pattern.fullmatch(Path(name).name)
        assert match and match[1].removesuffix(f"_{Path(name).parent}") == group


def test_youtube_faces_are_people_and_tapes():
    match = YouTubeFaces._pattern.fullmatch("0094_03_002_al_gore.avi")
    assert match and match.groups() == ("03", "al_gore")


def official_lists(root: Path) -> dict[str, str]:
    """Lists that train on clip 0 of a source and test on clip 1, but for source c, which is in neither."""
    lists = root / "testTrainMulti_7030_splits"
    lists.mkdir()
    purposes = {}
    for place in [path for path in root.iterdir() if path != lists]:
        lines = []
        for file in place.iterdir():
            purposes[str(file)] = "0" if file.name.startswith("c_") else "2" if file.stem.endswith("1") else "1"
            lines.append(f"{file.name} {purposes[str(file)]} ")
        (lists / f"{place.name}_test_split1.txt").write_text("\n".join(lines))
    return purposes


def test_official_split_of_hmdb51(tmp_path):
    make_hmdb51(tmp_path)
    purposes = official_lists(tmp_path)
    found = list(Hmdb51().recordings(tmp_path))
    validated = set()
    for fold in range(4):  # as many as there are groups that train
        for recording, part in zip(found, Hmdb51().parts(tmp_path, found, "official-1", fold), strict=True):
            allowed = {"0": {""}, "1": {"train", "validation"}, "2": {"test"}}
            assert part in allowed[purposes[str(recording.path)]]
            validated |= {recording.path} if part == "validation" else set()
    assert validated == {Path(path) for path, purpose in purposes.items() if purpose == "1"}
    data = load(Source("hmdb51", str(tmp_path), split="official-1"), cache=None)
    assert len(data.test) == 8 and len(data.final) == 8
    with pytest.raises(FileError, match=r"no lists of the official split, like brush_hair_test_split2\.txt; extract"):
        load(Source("hmdb51", str(tmp_path), split="official-2"), cache=None)


def test_pictures_of_your_own_and_single_pictures(tmp_path):
    for label in ("a", "b"):
        for clip in range(3):
            for number in range(4):
                path = tmp_path / label / f"clip{clip}" / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.new("RGB", (8, 6), (10 * number,) * 3).save(path)
    data = load(Source("folder", str(tmp_path), frames=4), cache=None)
    assert levels(data.train) == [[0, 1, 2, 3]] * 2
    for label in ("a", "b"):
        for clip in range(3):
            Image.new("RGB", (8, 6)).save(tmp_path / label / f"single{clip}.png")
    data = load(Source("folder", str(tmp_path), frames=1, split="clip"), cache=None)
    assert len(data.final) + len(data.test) == 12


def test_a_layout_of_your_own(tmp_path, monkeypatch):
    """As in the README: a class that finds the clips."""
    for number in range(6):
        write_video(tmp_path / "films" / f"{number}-{'indoor' if number % 2 else 'outdoor'}.mp4")
    (tmp_path / "scenes.py").write_text(
        "from fdht.model.data import Recording, VideoFolder\n"
        "class Scenes(VideoFolder):\n"
        "    name = 'scenes'\n"
        "    def recordings(self, root):\n"
        "        for file in sorted(root.glob('*.mp4')):\n"
        "            number, label = file.stem.split('-')\n"
        "            yield Recording(file, label, number)\n"
    )
    monkeypatch.chdir(tmp_path)
    own("scenes:Scenes")
    data = load(Source("scenes:Scenes", "films"), cache=None)
    assert (data.name, data.class_names) == ("scenes", ("indoor", "outdoor")) and len(data.test) == 2


def count_decodings(monkeypatch) -> list[Path]:
    decoded, decode = [], video._decoded
    monkeypatch.setattr(video, "_decoded", lambda path, *rest: decoded.append(path) or decode(path, *rest))
    return decoded


def test_clips_are_decoded_once(roots, tmp_path, monkeypatch):
    decoded = count_decodings(monkeypatch)
    source = Source("youtube-faces", str(roots["youtube-faces"]))
    first = load(source, cache=tmp_path)
    kept = list(tmp_path.rglob("*"))
    assert len(decoded) == 3  # each brightness once: the others have the same content
    assert len([path for path in kept if path.is_file()]) == len([path for path in kept if path.suffix == ".npy"]) == 3
    again = load(source, cache=tmp_path)
    assert len(decoded) == 3 and np.array_equal(first.test.clips, again.test.clips)
    load(Source(source.name, source.folder, frames=3), cache=tmp_path)
    assert len(decoded) == 6


def test_a_changed_clip_and_a_damaged_array_are_decoded_anew(tmp_path, monkeypatch):
    decoded, path, cache = count_decodings(monkeypatch), tmp_path / "a.avi", tmp_path / "cache"
    write_video(path)
    before = video.clip(path, 6, cache)
    write_video(path, shade=50)
    assert not np.array_equal(video.clip(path, 6, cache), before) and len(decoded) == 2
    for array in cache.rglob("*.npy"):
        array.write_bytes(array.read_bytes()[:200])
    write_video(path)
    assert np.array_equal(video.clip(path, 6, cache), before) and len(decoded) == 3
    assert np.array_equal(video.clip(path, 6, cache), before) and len(decoded) == 3


def test_arrays_of_objects_are_never_unpickled(tmp_path):
    path = tmp_path / "a.avi"
    write_video(path)
    video.clip(path, 6, tmp_path)
    (array,) = tmp_path.rglob("*.npy")
    np.save(array, np.array([print], dtype=object), allow_pickle=True)
    assert video.clip(path, 6, tmp_path).dtype == np.uint8


def test_a_full_disk(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path, cache = tmp_path / "a.avi", tmp_path / "cache"
    write_video(path)
    monkeypatch.setattr(np, "save", full)
    with pytest.raises(FileError, match=r"cannot keep decoded clips in .*: No space left on device; make room there"):
        video.clip(path, 6, cache)
    assert not [file for file in cache.rglob("*") if file.is_file()]


def test_what_cannot_be_used_is_skipped_and_counted(roots, tmp_path):
    make_own(tmp_path)
    write_garbage(tmp_path / "cat" / "noise.avi")
    write_video(tmp_path / "cat" / "short.avi", frames=5)
    (tmp_path / "dog" / "empty.mp4").touch()
    write_garbage(tmp_path / "dog" / "picture" / "1.png")
    write_garbage(tmp_path / "dog" / ".trash" / "old.avi")
    seen = []
    data = load(Source("folder", str(tmp_path)), cache=None, progress=lambda *step: seen.append(step))
    assert len(data.final) + len(data.test) == 20 and seen[-1] == (24, 24)
    reasons = "\n".join(data.skipped)
    assert len(data.skipped) == 4 and "noise.avi cannot be decoded (Invalid data" in reasons
    assert "short.avi has 5 frames, fewer than the 6 asked for" in reasons
    assert "empty.mp4 cannot be decoded" in reasons and "picture has 1 frame, fewer than" in reasons
    clean = load(Source("folder", str(roots["folder"])), cache=None)
    assert np.array_equal(clean.test.clips, data.test.clips)


@pytest.mark.parametrize("error", [Image.DecompressionBombError, ValueError, SyntaxError, OSError])
def test_a_picture_on_which_pillow_trips_is_skipped(tmp_path, monkeypatch, error):
    def trips(*_):
        raise error("too much")

    Image.new("RGB", (8, 6)).save(tmp_path / "1.png")
    monkeypatch.setattr(Image, "open", trips)
    with pytest.raises(video.ClipError, match=r"1.png cannot be decoded \(too much\)"):
        video.clip(tmp_path / "1.png", 1, None)


def test_a_clip_that_breaks_off_is_skipped_or_has_what_it_has(tmp_path):
    """Half a file must neither crash nor give pictures that are not in it."""
    path = tmp_path / "a.avi"
    write_video(path, frames=20)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    try:
        clip = video.clip(path, 2, None)
    except video.ClipError:
        return
    assert set((clip.mean(1) / 10).round()) <= set(range(20))


def test_no_folder(tmp_path):
    with pytest.raises(FileError, match=r"there is no folder .*nowhere; pass the one that holds ucf11"):
        load(Source("ucf11", str(tmp_path / "nowhere")))


@pytest.mark.parametrize("name", LAYOUTS)
def test_an_empty_folder_and_a_wrong_one(roots, tmp_path, name):
    with pytest.raises(FileError, match=rf"does not look like {name}: nothing in it is like .*; check the folder"):
        load(Source(name, str(tmp_path)))
    other = roots["folder" if name != "folder" else "youtube-faces"]
    with pytest.raises(FileError, match=f"does not look like {name}"):
        load(Source(name, str(other)))


def test_archives_that_were_not_extracted(tmp_path):
    (tmp_path / "brush_hair.rar").touch()
    with pytest.raises(FileError, match=r"archives like brush_hair\.rar must be extracted first"):
        load(Source("hmdb51", str(tmp_path)))


def test_nothing_can_be_decoded(tmp_path):
    for label in ("a", "b"):
        write_garbage(tmp_path / label / "1.avi")
    with pytest.raises(
        FileError, match=r"none of the 2 clips in .* can be used; the first: .*1\.avi cannot be decoded"
    ):
        load(Source("folder", str(tmp_path)), cache=None)


def test_more_frames_than_any_clip_has(roots):
    with pytest.raises(FileError, match=r"none of the 20 clips .* has 12 frames, fewer than the 13 asked for"):
        load(Source("ucf11", str(roots["ucf11"]), frames=13), cache=None)


def test_a_class_with_one_clip(tmp_path):
    make_own(tmp_path)
    write_video(tmp_path / "fox" / "1.mp4")
    write_garbage(tmp_path / "fox" / "2.mp4")
    for split, what in (("clip", "1 clip"), ("group", "1 group")):
        with pytest.raises(FileError, match=rf"class fox has {what}, too few .*1 clip was skipped.*2\.mp4.*at least 3"):
            load(Source("folder", str(tmp_path), split=split), cache=None)


def test_one_class(tmp_path):
    for number in range(3):
        write_video(tmp_path / "cat" / f"{number}.mp4")
    with pytest.raises(FileError, match="has one class, cat; there must be two or more to tell apart"):
        load(Source("folder", str(tmp_path)), cache=None)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"split": "official-1"}, "ucf11 has no split 'official-1'; there are group, clip"),
        ({"fold": 5}, "no fold 5; folds are 0 to 4"),
        ({"frames": 0}, "0 frames in a clip"),
    ],
)
def test_options_that_make_no_sense(roots, options, sentence):
    with pytest.raises(SpecError, match=sentence):
        load(Source("ucf11", str(roots["ucf11"]), **options))


def test_an_unreadable_file_is_skipped(tmp_path):
    (tmp_path / "gone.avi").symlink_to(tmp_path / "nowhere.avi")
    with pytest.raises(video.ClipError, match=r"gone\.avi cannot be read \(No such file"):
        video.clip(tmp_path / "gone.avi", 6, None)


def test_a_recording_is_what_a_layout_gives(roots):
    first = next(VideoFolder().recordings(roots["folder"]))
    assert first == Recording(roots["folder"] / "cat" / "source 0" / "a.mp4", "cat", "source 0")


def test_frames_are_in_the_order_of_numbers(tmp_path):
    for number in range(12):
        Image.new("L", (16, 12), 20 * number).save(tmp_path / f"{number}.png")
    assert video.clip(tmp_path, 12, None)[:, 0].tolist() == [20 * number for number in range(12)]
    names = ["b10", "b9", "a", "B2", "10", "9", "9a", "01"]
    assert [path.stem for path in sorted(map(Path, names), key=video.natural)] == [
        *("a", "B2", "b9", "b10"),
        *("01", "9", "9a", "10"),
    ]


RAMP = np.tile(np.arange(160) * 65535 // 159, (120, 1)).astype(np.uint16)


def across(path: Path) -> list[int]:
    """The grey levels of a picture's middle row."""
    return video.clip(path, 1, None).reshape(120, 160, 3)[60, :, 0].tolist()


def test_pictures_of_sixteen_bits_and_of_floating_point(tmp_path):
    """A ramp keeps its shades, where all but the darkest were white."""
    upper = (RAMP[60] >> 8).tolist()
    Image.fromarray(RAMP).save(tmp_path / "a.png")
    Image.fromarray(RAMP).save(tmp_path / "b.tiff")
    (tmp_path / "c.pgm").write_bytes(b"P5 160 120 65535\n" + RAMP.astype(">u2").tobytes())
    for name in ("a.png", "b.tiff", "c.pgm"):
        assert across(tmp_path / name) == upper
    Image.fromarray((RAMP / 65535).astype(np.float32)).save(tmp_path / "d.tiff")
    assert across(tmp_path / "d.tiff") == np.floor(RAMP[60] / 65535 * 255 + 0.5).astype(int).tolist()


@pytest.mark.parametrize(
    ("array", "sentence"),
    [
        (RAMP.astype(np.float32), "holds floating-point numbers from 0 to 65535; a picture has 0 to 1"),
        (np.full((4, 4), np.nan, np.float32), "holds floating-point numbers from nan to nan"),
        (RAMP.astype(np.int32), "holds 32-bit integers, whose range nobody knows; save 8 or 16 bits"),
    ],
)
def test_pictures_of_no_known_range_are_left_out(tmp_path, array, sentence):
    Image.fromarray(array).save(tmp_path / "a.tiff")
    with pytest.raises(video.ClipError, match=sentence):
        video.clip(tmp_path / "a.tiff", 1, None)


LIT = np.zeros((48, 64), np.uint8)
LIT[:, :32] = 200
"""Light on the left."""


def side(path: Path) -> str:
    """Where a picture is light."""
    grey = video.clip(path, 1, None).reshape(120, 160, 3)[..., 0].astype(int)
    light = {"left": grey[:, :40], "right": grey[:, -40:], "top": grey[:40], "bottom": grey[-40:]}
    return max(light, key=lambda name: light[name].mean())


@pytest.mark.parametrize(("orientation", "light"), [(1, "left"), (2, "right"), (3, "right"), (6, "top"), (8, "bottom")])
def test_pictures_are_turned_as_exif_says(tmp_path, orientation, light):
    for name, array in (("a.png", LIT), ("b.png", LIT.astype(np.uint16) << 8), ("c.jpg", LIT)):
        picture = Image.fromarray(array)
        picture.getexif()[0x112] = orientation
        picture.save(tmp_path / name, exif=picture.getexif())
        assert side(tmp_path / name) == light


@pytest.mark.parametrize(("degrees", "light"), [(0, "left"), (180, "right"), (90, "bottom"), (-90, "top")])
def test_videos_are_turned_as_their_matrix_says(tmp_path, degrees, light):
    write_video(tmp_path / "a.mp4", frames=3, picture=LIT, degrees=degrees)
    assert side(tmp_path / "a.mp4") == light
