"""Writes the expected outputs beside this file. Made with Pillow 13.0.0 (libjpeg-turbo 3.2.0) and numpy 2.4.6:

    pip install pillow==13.0.0 numpy==2.4.6 && python make_fixtures.py

The operations are those that torchvision 0.2x applies to Pillow images, written out.
"""
import hashlib, io, json, os
import numpy as np
from PIL import Image, ImageEnhance, ImageFilter

HERE = os.path.dirname(os.path.abspath(__file__))
rng = np.random.default_rng(7)
manifest = {"resize": [], "color": [], "files": [], "eval": [], "view": [], "cube": {}}


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
with open(os.path.join(HERE, "manifest.json"), "w") as f:
    json.dump(manifest, f, indent=1)
    f.write("\n")
