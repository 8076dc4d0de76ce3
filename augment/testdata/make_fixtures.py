"""Writes the expected outputs beside this file. Made with Pillow 13.0.0 (libjpeg-turbo 3.2.0), numpy 2.4.6 and, for the
chroma that Pillow does not write, cjpeg of libjpeg-turbo 2.1.5 (Debian: libjpeg-turbo-progs):

    pip install pillow==13.0.0 numpy==2.4.6 && python make_fixtures.py

The operations are those that torchvision applies to Pillow images and facebookresearch/moco's blur, written out; where
torchvision is installed (0.29.2 was), they are compared with it.
"""
import hashlib, io, json, os, struct, subprocess, zlib
import numpy as np
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

HERE = os.path.dirname(os.path.abspath(__file__))
rng = np.random.default_rng(7)
manifest = {"resize": [], "color": [], "files": [], "eval": [], "view": [], "cube": {}, "orientation": []}


def save(name, img):
    img.save(os.path.join(HERE, name), optimize=True)
    return name


def picture(w, h):
    """Smooth colours, hard edges, saturated and grey patches, some noise."""
    y, x = np.mgrid[0:h, 0:w]
    a = np.stack([x * 255 / w, y * 255 / h, 127 + 120 * np.sin(x / 5 + y / 9)], -1)
    a[h // 4 : h // 2, w // 4 : w // 2] = (255, 20, 0)
    a[h // 2 : h * 3 // 4, w // 8 : w // 4] = (90, 90, 90)
    a[: h // 8, w * 3 // 4 :] = (255, 255, 255)
    a[h * 7 // 8 :, : w // 8] = (0, 0, 0)
    a += rng.normal(0, 8, a.shape)
    return Image.fromarray(np.clip(a, 0, 255).astype(np.uint8), "RGB")


def hue(img, factor):
    h, s, v = img.convert("HSV").split()
    a = np.array(h, dtype=np.uint8)
    a += np.int32(factor * 255).astype(np.uint8)
    return Image.merge("HSV", (Image.fromarray(a), s, v)).convert("RGB")


OPS = {
    "brightness": lambda i, f: ImageEnhance.Brightness(i).enhance(f),
    "contrast": lambda i, f: ImageEnhance.Contrast(i).enhance(f),
    "saturation": lambda i, f: ImageEnhance.Color(i).enhance(f),
    "hue": hue,
    "gray": lambda i, f: i.convert("L").convert("RGB"),
    "blur": lambda i, f: i.filter(ImageFilter.GaussianBlur(radius=f)),
    "flip": lambda i, f: i.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
}


def resizes(src):
    cases = [((0, 0, 64, 48), 24), ((3, 5, 40, 47), 24), ((10, 10, 20, 22), 32), ((1, 0, 64, 9), 16), ((7, 7, 31, 31), 24)]
    for i, (box, size) in enumerate(cases):
        out = src.crop(box).resize((size, size), Image.Resampling.BILINEAR)
        manifest["resize"].append({"box": box, "size": size, "file": save(f"resize{i}.png", out)})


def colors(src):
    cases = [("brightness", 0.6), ("brightness", 1.37), ("contrast", 0.61), ("contrast", 1.4), ("saturation", 0.0),
             ("saturation", 0.63), ("saturation", 1.39), ("hue", 0.0), ("hue", 0.1), ("hue", -0.1), ("hue", 0.5), ("hue", -0.37),
             ("gray", 0), ("flip", 0), ("blur", 0.1), ("blur", 0.5), ("blur", 1.0), ("blur", 1.53), ("blur", 2.0), ("blur", 9.0)]
    for op, f in cases:
        manifest["color"].append({"op": op, "factor": f, "file": save(f"{op}{f}.png", OPS[op](src, f))})


def cube():
    """Both conversions of all 2^24 triples, the last channel fastest."""
    v = np.arange(1 << 24, dtype=np.uint32)
    a = np.stack([v >> 16, v >> 8 & 255, v & 255], -1).astype(np.uint8).reshape(4096, 4096, 3)
    for name, mode, to in (("rgb_to_hsv", "RGB", "HSV"), ("hsv_to_rgb", "HSV", "RGB")):
        out = Image.fromarray(a, mode).convert(to).tobytes()
        manifest["cube"][name] = hashlib.sha256(out).hexdigest()


def files(src):
    def add(name, img, **options):
        path = os.path.join(HERE, name)
        img.save(path, **options)
        expect(name)

    def expect(name):
        out = Image.open(os.path.join(HERE, name)).convert("RGB")
        out.info.clear()  # a transparent colour would be saved with it
        manifest["files"].append({"file": name, "expected": save(name.replace(".", "_") + ".expected.png", out)})

    for name, sub in (("420", 2), ("422", 1), ("444", 0)):
        add(f"{name}.jpg", src, quality=90, subsampling=sub)
    add("progressive.jpg", src, quality=85, progressive=True)
    add("restart.jpg", src, quality=85, restart_marker_blocks=2)
    add("gray.jpg", src.convert("L"), quality=85)
    add("rgb.jpg", src, quality=85, keep_rgb=True)
    add("cmyk.jpg", src.convert("CMYK"), quality=90)
    data = bytearray(open(os.path.join(HERE, "cmyk.jpg"), "rb").read())
    data[data.index(b"Adobe") + 11] = 2  # the transform: YCCK
    open(os.path.join(HERE, "ycck.jpg"), "wb").write(data)
    expect("ycck.jpg")

    alpha = Image.fromarray((np.mgrid[0:48, 0:64][1] * 4).astype(np.uint8), "L")
    rgba = src.copy()
    rgba.putalpha(alpha)
    add("rgba.png", rgba)
    la = src.convert("L")
    la.putalpha(alpha)
    add("la.png", la)
    add("palette.png", src.quantize(16), transparency=3)
    add("bits.png", src.convert("1"))
    add("lossy.webp", src, quality=90)
    add("alpha.webp", rgba, quality=80)
    add("lossless.webp", src, lossless=True)


def evaluations(src):
    size = 28  # 32 before the crop
    for i, img in enumerate((src, src.transpose(Image.Transpose.ROTATE_90), src.crop((0, 0, 17, 48)))):
        w, h = img.size
        ow, oh = (32, int(32 * h / w)) if w <= h else (int(32 * w / h), 32)
        r = img.resize((ow, oh), Image.Resampling.BILINEAR)
        left, top = int(round((ow - size) / 2.0)), int(round((oh - size) / 2.0))
        out = r.crop((left, top, left + size, top + size))
        manifest["eval"].append({"input": save(f"eval{i}.png", img), "size": size, "file": save(f"eval{i}.expected.png", out)})


def png(a, depth, kind, interlaced=False, palette=None, transparent=None):
    """A PNG file of samples a [H, W, channels], in depths and kinds that Pillow does not write."""
    def chunk(name, body):
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    def rows(part):
        if depth == 16:
            lines = [r.astype(">u2").tobytes() for r in part]
        else:  # most significant bits first, rows padded to bytes
            bits = [np.unpackbits(r.astype(np.uint8).reshape(-1, 1), axis=1)[:, -depth:].ravel() for r in part]
            lines = [np.packbits(b).tobytes() for b in bits]
        return b"".join(b"\0" + l for l in lines)

    passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    parts = [a[y::dy, x::dx] for y, x, dy, dx in passes] if interlaced else [a]
    header = struct.pack(">IIBBBBB", a.shape[1], a.shape[0], depth, kind, 0, 0, interlaced)
    extra = (chunk(b"PLTE", palette) if palette else b"") + (chunk(b"tRNS", transparent) if transparent else b"")
    data = b"".join(rows(p) for p in parts if p.size)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + chunk(b"IDAT", zlib.compress(data, 9)) + chunk(b"IEND", b"")


def formats(src):
    """One small file for each kind that files() does not have."""
    folder = os.path.join(HERE, "formats")
    os.makedirs(folder, exist_ok=True)

    def add(name, data, expected=None):
        with open(os.path.join(folder, name), "wb") as f:
            f.write(data)
        out = expected or Image.open(os.path.join(folder, name)).convert("RGB")
        out.info.clear()
        name = "formats/" + name
        manifest["files"].append({"file": name, "expected": save(name.replace(".", "_") + ".expected.png", out)})

    def saved(img, kind, **options):
        b = io.BytesIO()
        img.save(b, kind, **options)
        return b.getvalue()

    ppm = saved(src, "PPM")
    for name, sample in (("440", "1x2"), ("411", "4x1"), ("410", "4x2")):
        add(f"{name}.jpg", subprocess.run(["cjpeg", "-quality", "85", "-sample", sample], input=ppm, capture_output=True, check=True).stdout)
    arithmetic = subprocess.run(["cjpeg", "-arithmetic"], input=ppm, capture_output=True, check=True).stdout
    with open(os.path.join(folder, "arithmetic.jpg"), "wb") as f:
        f.write(arithmetic)
    plain = saved(src, "JPEG", quality=85)
    add("extended.jpg", plain.replace(b"\xff\xc0", b"\xff\xc1", 1))
    add("progressive420.jpg", saved(src, "JPEG", quality=85, progressive=True, subsampling=2))
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        data = saved(src, "JPEG", quality=85, exif=exif)
        with open(os.path.join(folder, f"orientation{orientation}.jpg"), "wb") as f:
            f.write(data)
        out = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
        manifest["orientation"].append({"file": f"formats/orientation{orientation}.jpg", "size": out.size,
                                        "sha256": hashlib.sha256(out.tobytes()).hexdigest()})

    a = np.array(src).astype(np.uint32)
    gray = np.array(src.convert("L")).astype(np.uint32)[:, :, None]
    deep, deepgray = a * 257 ^ 0x5A, gray * 257 ^ 0x5A  # the low byte has to be dropped, not rounded
    alpha = np.broadcast_to(np.arange(src.width, dtype=np.uint32)[None, :, None] * 2000, gray.shape)
    high = Image.fromarray((deepgray[:, :, 0] >> 8).astype(np.uint8), "L").convert("RGB")  # Pillow clips I;16 instead
    add("rgb16.png", png(deep, 16, 2))
    add("rgba16.png", png(np.concatenate([deep, alpha], 2), 16, 6))
    add("gray16.png", png(deepgray, 16, 0), high)
    add("la16.png", png(np.concatenate([deepgray, alpha], 2), 16, 4))
    add("interlaced.png", png(a, 8, 2, interlaced=True))
    add("interlaced16.png", png(deep, 16, 2, interlaced=True))
    for depth in (1, 2, 4):
        add(f"gray{depth}.png", png(gray >> (8 - depth), depth, 0, interlaced=depth == 2))
        colors = bytes(rng.integers(0, 256, 3 << depth, dtype=np.uint8))
        add(f"palette{depth}.png", png(gray >> (8 - depth), depth, 3, palette=colors))
    add("keyed.png", png(a, 8, 2, transparent=struct.pack(">HHH", *(int(v) for v in a[0, 0]))))
    other = src.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    add("animated.png", saved(src, "PNG", save_all=True, append_images=[other], optimize=True))
    with open(os.path.join(folder, "animated.webp"), "wb") as f:
        f.write(saved(src, "WEBP", save_all=True, append_images=[other], quality=50))
    add("palette.webp", saved(src.quantize(8).convert("RGB"), "WEBP", lossless=True))
    add("odd.webp", saved(src.crop((0, 0, src.width - 1, src.height - 1)), "WEBP", quality=60))
    for kind, name in (("GIF", "gif"), ("BMP", "bmp"), ("TIFF", "tiff"), ("JPEG2000", "jp2"), ("AVIF", "avif")):
        with open(os.path.join(folder, f"small.{name}"), "wb") as f:
            f.write(saved(src.resize((8, 8)), kind))


def check_torchvision(src):
    """The operations written out above are torchvision's."""
    try:
        import torchvision.transforms.functional as tv
    except ImportError:
        return
    theirs = {"brightness": tv.adjust_brightness, "contrast": tv.adjust_contrast, "saturation": tv.adjust_saturation,
              "hue": tv.adjust_hue, "gray": lambda i, f: tv.rgb_to_grayscale(i, 3), "flip": lambda i, f: tv.hflip(i)}
    for op, their in theirs.items():
        for f in (0.6, 1.37) if op != "hue" else (-0.5, -0.1, 0.0, 0.07, 0.5):
            assert their(src, f).tobytes() == OPS[op](src, f).tobytes(), (op, f)
    for case in manifest["resize"]:
        x0, y0, x1, y1 = case["box"]
        out = tv.resized_crop(src, y0, x0, y1 - y0, x1 - x0, [case["size"]] * 2)
        assert out.tobytes() == Image.open(os.path.join(HERE, case["file"])).tobytes(), case


def view(src):
    """One whole view of MoCo v2."""
    box, ops = (5, 3, 52, 45), [("hue", -0.07), ("contrast", 1.3), ("saturation", 0.7), ("brightness", 1.2), ("blur", 1.1), ("flip", 0)]
    out = src.crop(box).resize((32, 32), Image.Resampling.BILINEAR)
    for op, f in ops:
        out = OPS[op](out, f)
    manifest["view"].append({"box": box, "size": 32, "ops": ops, "file": save("view.png", out)})


source = picture(64, 48)
save("source.png", source)
square = picture(32, 32)
save("square.png", square)
resizes(source)
colors(square)
cube()
files(source)
evaluations(source)
view(source)
check_torchvision(source)
formats(picture(26, 19))
with open(os.path.join(HERE, "manifest.json"), "w") as f:
    json.dump(manifest, f, indent=1)
    f.write("\n")
