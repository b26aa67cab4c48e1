"""Frames of pixels into and out of codestreams, in processes of their own. Only these import the codecs."""
