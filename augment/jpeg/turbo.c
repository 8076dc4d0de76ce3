//go:build cgo && !nojpegturbo

#include "turbo.h"

#include <setjmp.h>
#include <stdio.h>
#include <string.h>

#include <jpeglib.h>
#include <jerror.h>

// One decompressor per image: it costs a few microseconds beside a millisecond of decoding, and a kept one would lend an
// image without Huffman or quantisation tables those of the image before.
struct session {
    struct jpeg_decompress_struct cinfo;
    struct jpeg_error_mgr errors;
    struct jpeg_progress_mgr progress;
    jmp_buf escape;
    int max_scans;
    int status;
    char *message;
};

static int classify(int code) {
    switch (code) {
    case JWRN_JPEG_EOF:
    case JWRN_HIT_MARKER:
    case JERR_INPUT_EOF:
    case JERR_INPUT_EMPTY:
        return TURBO_TRUNCATED;
    case JERR_ARITH_NOTIMPL:
    case JERR_BAD_PRECISION:
    case JERR_COMPONENT_COUNT:
    case JERR_CONVERSION_NOTIMPL:
    case JERR_FRACT_SAMPLE_NOTIMPL:
    case JERR_CCIR601_NOTIMPL:
    case JERR_NOT_COMPILED:
    case JERR_SOF_UNSUPPORTED:
        return TURBO_UNSUPPORTED;
    }
    return TURBO_CORRUPT;
}

static void fail(j_common_ptr cinfo) {
    struct session *s = cinfo->client_data;
    s->status = classify(cinfo->err->msg_code);
    cinfo->err->format_message(cinfo, s->message);
    longjmp(s->escape, 1);
}

// Warnings are negative levels: data was lost or made up. Two of them concern labels only.
static void message(j_common_ptr cinfo, int level) {
    int code = cinfo->err->msg_code;
    if (level < 0 && code != JWRN_JFIF_MAJOR && code != JWRN_ADOBE_XFORM) fail(cinfo);
}

static void discard(j_common_ptr cinfo) { (void)cinfo; }

static void watch(j_common_ptr cinfo) {
    struct session *s = cinfo->client_data;
    if (((j_decompress_ptr)cinfo)->input_scan_number <= s->max_scans) return;
    s->status = TURBO_CORRUPT;
    snprintf(s->message, TURBO_MESSAGE, "more than %d scans", s->max_scans);
    longjmp(s->escape, 1);
}

static JSAMPLE mul_div_255(unsigned a, unsigned b) {
    unsigned t = a * b + 128;
    return (JSAMPLE)(((t >> 8) + t) >> 8);
}

// cmyk_row takes Adobe's inverted inks (255 is none), which is what four-component files in the wild hold.
static void cmyk_row(unsigned char *dst, const JSAMPLE *src, unsigned width) {
    for (unsigned x = 0; x < width; x++, dst += 3, src += 4) {
        for (int c = 0; c < 3; c++) dst[c] = src[3] - mul_div_255(255 - src[c], src[3]);
    }
}

static void read_rows(j_decompress_ptr cinfo, unsigned char *dst) {
    size_t stride = (size_t)cinfo->output_width * 3;
    while (cinfo->output_scanline < cinfo->output_height) {
        JSAMPROW rows[4];
        for (int i = 0; i < 4; i++) {
            JDIMENSION y = cinfo->output_scanline + i;
            if (y >= cinfo->output_height) y = cinfo->output_height - 1; // never written: the library stops there
            rows[i] = dst + y * stride;
        }
        jpeg_read_scanlines(cinfo, rows, 4);
    }
}

static void read_cmyk_rows(j_decompress_ptr cinfo, unsigned char *dst) {
    JSAMPARRAY row = cinfo->mem->alloc_sarray((j_common_ptr)cinfo, JPOOL_IMAGE, cinfo->output_width * 4, 1);
    while (cinfo->output_scanline < cinfo->output_height) {
        size_t y = cinfo->output_scanline;
        jpeg_read_scanlines(cinfo, row, 1);
        cmyk_row(dst + y * cinfo->output_width * 3, row[0], cinfo->output_width);
    }
}

static void decode(struct session *s, const unsigned char *data, size_t size, unsigned char *dst, unsigned width,
                   unsigned height) {
    j_decompress_ptr cinfo = &s->cinfo;
    jpeg_mem_src(cinfo, (unsigned char *)data, size);
    jpeg_read_header(cinfo, TRUE);
    if (cinfo->image_width != width || cinfo->image_height != height) ERREXIT(cinfo, JERR_BAD_LENGTH);
    int inks = cinfo->num_components == 4;
    cinfo->out_color_space = inks ? JCS_CMYK : JCS_RGB;
    cinfo->dct_method = JDCT_ISLOW;
    cinfo->do_fancy_upsampling = TRUE;
    jpeg_start_decompress(cinfo);
    if (inks) {
        read_cmyk_rows(cinfo, dst);
    } else {
        read_rows(cinfo, dst);
    }
    jpeg_finish_decompress(cinfo); // reads to EOI: what is left over is an error too
}

int turbo_decode(const unsigned char *data, size_t size, unsigned char *dst, unsigned width, unsigned height,
                 int max_scans, long max_memory, char *reason) {
    struct session s;
    memset(&s, 0, sizeof s);
    s.max_scans = max_scans;
    s.message = reason;
    s.cinfo.client_data = &s;
    s.cinfo.err = jpeg_std_error(&s.errors);
    s.errors.error_exit = fail;
    s.errors.emit_message = message;
    s.errors.output_message = discard;
    if (setjmp(s.escape) == 0) {
        jpeg_create_decompress(&s.cinfo); // keeps err and client_data
        s.progress.progress_monitor = watch;
        s.cinfo.progress = &s.progress;
        s.cinfo.mem->max_memory_to_use = max_memory;
        decode(&s, data, size, dst, width, height);
    }
    jpeg_destroy_decompress(&s.cinfo);
    return s.status;
}

#define TEXT_OF(x) #x
#define TEXT(x) TEXT_OF(x)

const char *turbo_name(void) {
#ifdef LIBJPEG_TURBO_VERSION
    return "libjpeg-turbo " TEXT(LIBJPEG_TURBO_VERSION);
#else
    return "libjpeg " TEXT(JPEG_LIB_VERSION);
#endif
}
