"""How Sphinx makes the site; `docs/website.py` gathers the pages and calls it."""

from fdht.spec.version import VERSION

project = "fdht"
release = version = VERSION
copyright = "the fdht authors, Apache-2.0"
extensions = ["myst_nb", "sphinx_copybutton"]
exclude_patterns: list[str] = []
html_theme = "furo"
html_title = f"fdht {VERSION}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
html_last_updated_fmt = None
html_theme_options = {"navigation_with_keys": True}
highlight_language = "none"
copybutton_exclude = ".linenos, .gp, .go"

# Pages are written for a forge, too: their anchors are the forge's.
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence"]

nb_execution_mode = "cache"
nb_execution_raise_on_error = True
nb_execution_timeout = 300
nb_execution_show_tb = True
nb_merge_streams = True

python_maximum_signature_line_length = 100
toc_object_entries = False
smartquotes = False  # options begin with two hyphens
add_module_names = False
# An annotation may have the name of something outside that is also the name of several things here.
suppress_warnings = ["ref.python"]
python_use_unqualified_type_names = True
