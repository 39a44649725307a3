//! Pictures out of JPEG and PNG files.

use crate::Picture;
use alloc::format;
use alloc::string::String;
use zune_core::bytestream::ZCursor;
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;
use zune_jpeg::JpegDecoder;
use zune_png::PngDecoder;

/// The picture in a file.
pub(crate) fn decode(file: &[u8]) -> Result<Picture, String> {
    let decoded = if file.starts_with(b"\xff\xd8") {
        jpeg(file).map_err(|error| format!("not a sound JPEG file: {error:?}"))?
    } else {
        png(file).map_err(|error| format!("neither a JPEG nor a sound PNG file: {error:?}"))?
    };
    decoded
        .filter(|picture| !picture.bytes.is_empty())
        .filter(|picture| picture.bytes.len() == picture.width * picture.height * 4)
        .ok_or_else(|| String::from("the file has no picture"))
}

fn jpeg(file: &[u8]) -> Result<Option<Picture>, zune_jpeg::errors::DecodeErrors> {
    let options = DecoderOptions::default().jpeg_set_out_colorspace(ColorSpace::RGBA);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(file), options);
    let bytes = decoder.decode()?;
    Ok(decoder.dimensions().map(|(width, height)| Picture { width, height, bytes }))
}

fn png(file: &[u8]) -> Result<Option<Picture>, zune_png::error::PngDecodeErrors> {
    let options = DecoderOptions::default().png_set_strip_to_8bit(true).png_set_add_alpha_channel(true);
    let mut decoder = PngDecoder::new_with_options(ZCursor::new(file), options);
    let mut bytes = decoder.decode_raw()?;
    if decoder.colorspace() == Some(ColorSpace::LumaA) {
        bytes = bytes.chunks_exact(2).flat_map(|pixel| [pixel[0], pixel[0], pixel[0], pixel[1]]).collect();
    }
    Ok(decoder.dimensions().map(|(width, height)| Picture { width, height, bytes }))
}
