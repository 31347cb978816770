"""Segmenters: what embeds a plane and decodes prompts, and how one is composed."""
