"""Functions behind the dock's keys and buttons, which are also napari commands.

Each takes the viewer, opens the dock if it isn't open, and acts on the image chosen there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import napari

from napari_sam.gui import current_session, open_dock
from napari_sam.gui.controller import bare
from napari_sam.gui.help_overlay import toggle_help
from napari_sam.gui.image_dialogs import ask_for_folder
from napari_sam.gui.mask_style import outline_masks
from napari_sam.gui.outlines import move_found_outlines, move_outlines
from napari_sam.gui.proofreading import act_on_queue
from napari_sam.gui.session_dialogs import (
    ask_where_to_export,
    ask_where_to_save,
    ask_which_to_import,
    ask_which_to_open,
)
from napari_sam.gui.teaching import complete_of

if TYPE_CHECKING:
    from napari_sam.gui.annotation import Annotation
    from napari_sam.gui.controller import Controller
    from napari_sam.session import Session


def click(viewer: napari.Viewer) -> None:
    """Make the next click in the canvas a prompt."""
    _annotation(viewer).click_here()


def draw_box(viewer: napari.Viewer) -> None:
    """Let the next drag draw a box."""
    _annotation(viewer).draw_box()


def draw_stroke(viewer: napari.Viewer) -> None:
    """Let the next drag draw a stroke along the object, or along the background."""
    _annotation(viewer).draw("stroke")


def draw_lasso(viewer: napari.Viewer) -> None:
    """Let the next drag draw a lasso around an object."""
    _annotation(viewer).draw("lasso")


def new_object(viewer: napari.Viewer) -> None:
    """Start another object."""
    _annotation(viewer).new_object()


def each_click(viewer: napari.Viewer) -> None:
    """Switch on or off that each click on the background begins a new object."""
    annotation = _annotation(viewer)
    annotation.new_each_click = not annotation.new_each_click


def go_to_object(viewer: napari.Viewer) -> None:
    """Go to the object under the cursor."""
    _annotation(viewer).go_to_object_under_cursor()


def next_object(viewer: napari.Viewer) -> None:
    """Go to the next object that has prompts."""
    _session(viewer).step_object(1)


def previous_object(viewer: napari.Viewer) -> None:
    """Go to the previous object that has prompts."""
    _session(viewer).step_object(-1)


def next_candidate(viewer: napari.Viewer) -> None:
    """Use the next candidate of the first click as the mask."""
    annotation = _annotation(viewer)
    annotation.session.next_candidate(annotation.plane_to_prompt())


def toggle_preview(viewer: napari.Viewer) -> None:
    """Switch on or off the preview of the mask that a click at the mouse would give."""
    hover = _controller(viewer).hover
    hover.is_on = not hover.is_on


def swap_buttons(viewer: napari.Viewer) -> None:
    """Swap left and right click; if clicks or strokes are selected, flip their signs instead."""
    annotation = _annotation(viewer)
    if not annotation.flip_selected():
        annotation.sign = 1 - annotation.sign


def delete_object(viewer: napari.Viewer) -> None:
    """Delete the current object: its prompts and its pixels, on all planes."""
    session = _session(viewer)
    session.delete_object(session.object_id)


def cut_object(viewer: napari.Viewer) -> None:
    """Switch on or off that the next drag cuts the current object in two."""
    controller = _controller(viewer)
    controller.cut.toggle(_annotation(viewer))


def toggle_outlines(viewer: napari.Viewer) -> None:
    """Switch between masks shown as outlines and filled masks."""
    outline_masks(_annotation(viewer))


def lock_object(viewer: napari.Viewer) -> None:
    """Lock the current object against changes, or unlock it."""
    session = _session(viewer)
    session.lock([session.object_id], not session.facts(session.object_id).locked)


def widen_object(viewer: napari.Viewer) -> None:
    """Move the current object's outline outwards by a pixel, on the plane on screen."""
    move_outlines(_annotation(viewer), 1)


def narrow_object(viewer: napari.Viewer) -> None:
    """Move the current object's outline inwards by a pixel, on the plane on screen."""
    move_outlines(_annotation(viewer), -1)


def widen_found(viewer: napari.Viewer) -> None:
    """Move the outlines of all found objects outwards by a pixel, on the plane on screen."""
    move_found_outlines(_annotation(viewer), 1)


def narrow_found(viewer: napari.Viewer) -> None:
    """Move the outlines of all found objects inwards by a pixel, on the plane on screen."""
    move_found_outlines(_annotation(viewer), -1)


def start_over(viewer: napari.Viewer) -> None:
    """Remove the current object's prompts and its mask on the plane on screen."""
    annotation = _annotation(viewer)
    annotation.session.clear(annotation.plane_to_prompt())


def adopt_object(viewer: napari.Viewer) -> None:
    """Make the current object's label on the plane on screen a mask that clicks correct."""
    annotation = _annotation(viewer)
    annotation.session.adopt(annotation.plane_to_prompt(), annotation.session.object_id)


def undo(viewer: napari.Viewer) -> None:
    """Undo the last step."""
    _session(viewer).undo()


def redo(viewer: napari.Viewer) -> None:
    """Redo the step that was undone last."""
    _session(viewer).redo()


def find_all(viewer: napari.Viewer) -> None:
    """Find every object of the plane on screen."""
    controller, annotation = _controller(viewer), _annotation(viewer)
    if controller.segmenter is None:
        raise RuntimeError("expected a model, got none yet; wait until it is loaded")
    controller.everything.start(annotation, annotation.plane_to_prompt())


def teach(viewer: napari.Viewer) -> None:
    """Teach the model in use the finished objects of the image."""
    _controller(viewer).teaching.start(_annotation(viewer))


def stop_teaching(viewer: napari.Viewer) -> None:
    """Stop teaching; everything stays as it is."""
    _controller(viewer).teaching.cancel()


def mark_complete(viewer: napari.Viewer) -> None:
    """Mark the plane on screen as completely labelled, or remove that mark."""
    annotation = _annotation(viewer)
    plane = annotation.plane_to_prompt()
    complete = complete_of(annotation)
    annotation.session.mark_complete(plane, on=complete is None or not complete.is_plane)


def proofread(viewer: napari.Viewer) -> None:
    """Open the queue of objects that nobody has accepted yet, or close it."""
    _controller(viewer).proofreading.toggle(_annotation(viewer))


def queue_accept(viewer: napari.Viewer) -> None:
    """Accept the object that the queue offers, and go on to the next."""
    act_on_queue(viewer, _session(viewer).queue, "accept")


def queue_fix(viewer: napari.Viewer) -> None:
    """Correct the object that the queue offers by clicks before it is accepted."""
    act_on_queue(viewer, _session(viewer).queue, "fix")


def queue_delete(viewer: napari.Viewer) -> None:
    """Delete the object that the queue offers, and go on to the next."""
    act_on_queue(viewer, _session(viewer).queue, "delete")


def queue_accept_rest(viewer: napari.Viewer) -> None:
    """Accept the object that the queue offers, and all objects with a higher score."""
    act_on_queue(viewer, _session(viewer).queue, "accept_rest")


def queue_accept_sure(viewer: napari.Viewer) -> None:
    """Accept all objects of the queue whose score is very high."""
    _session(viewer).queue.accept_sure()


def queue_delete_hopeless(viewer: napari.Viewer) -> None:
    """Delete all objects of the queue whose score is very low."""
    _session(viewer).queue.delete_hopeless()


def queue_next(viewer: napari.Viewer) -> None:
    """Skip the object that the queue offers; it stays in the queue."""
    _session(viewer).queue.next()


def queue_previous(viewer: napari.Viewer) -> None:
    """Go back to the object that the queue offered before."""
    _session(viewer).queue.previous()


def find_similar(viewer: napari.Viewer) -> None:
    """Find more objects like the accepted ones on the plane on screen."""
    annotation = _annotation(viewer)
    _controller(viewer).everything.start_similar(annotation, annotation.plane_to_prompt())


def save_session(viewer: napari.Viewer) -> None:
    """Ask for a file, and save the session of the image to it."""
    keeping = _controller(viewer).keeping
    path = ask_where_to_save(_window(viewer), keeping.proposed_name)
    if path is not None:
        keeping.save(path)


def export_objects(viewer: napari.Viewer) -> None:
    """Ask for a file and a format, and export the objects of the image."""
    controller = _controller(viewer)
    asked = ask_where_to_export(_window(viewer), controller.image.name if controller.image else "")
    if asked is not None:
        controller.keeping.export(*asked)


def import_objects(viewer: napari.Viewer) -> None:
    """Ask for a file of another program, and import its objects as labels."""
    path = ask_which_to_import(_window(viewer))
    if path is not None:
        _controller(viewer).keeping.bring(path)


def open_session(viewer: napari.Viewer) -> None:
    """Ask for a saved session, and resume it."""
    path = ask_which_to_open(_window(viewer))
    if path is not None:
        open_dock(viewer).keeping.open(path)


def follow(viewer: napari.Viewer) -> None:
    """Follow the current object through the stack or movie, from the planes where it is known."""
    _controller(viewer).follow.start(_annotation(viewer))


def follow_all(viewer: napari.Viewer) -> None:
    """Follow all objects of the plane on screen through the stack or movie, together."""
    _controller(viewer).follow.start(_annotation(viewer), everything=True)


def next_doubtful(viewer: napari.Viewer) -> None:
    """Show the next plane on which the current object's mask is doubtful."""
    _controller(viewer).follow.step(_annotation(viewer), 1)


def previous_doubtful(viewer: napari.Viewer) -> None:
    """Show the previous plane on which the current object's mask is doubtful."""
    _controller(viewer).follow.step(_annotation(viewer), -1)


def worst_plane(viewer: napari.Viewer) -> None:
    """Show the plane on which the current object's mask is the most doubtful."""
    _controller(viewer).follow.show_worst(_annotation(viewer))


def accept_plane(viewer: napari.Viewer) -> None:
    """Accept the current object's mask on the plane on screen as right."""
    annotation = _annotation(viewer)
    annotation.session.accept_plane(plane=annotation.plane_to_prompt())


def stop_here(viewer: napari.Viewer) -> None:
    """End the current object before the plane on screen."""
    annotation = _annotation(viewer)
    annotation.session.stop_here(plane=annotation.plane_to_prompt())


def go_on(viewer: napari.Viewer) -> None:
    """Continue the current object on the plane on screen, even if the model judges it absent."""
    annotation = _annotation(viewer)
    annotation.session.go_on(plane=annotation.plane_to_prompt())


def stop_following(viewer: napari.Viewer) -> None:
    """Stop following; masks on planes that are done stay."""
    _session(viewer).cancel_following()


def look_in_3d(viewer: napari.Viewer) -> None:
    """Show the masks' surfaces in the 3-D view, or go back to the slice shown before."""
    _controller(viewer).follow.toggle_3d(_annotation(viewer))


def link_objects(viewer: napari.Viewer) -> None:
    """Link the objects of all frames of a movie into tracks, with one label for each track."""
    _controller(viewer).tracks.link(_annotation(viewer))


def show_tracks(viewer: napari.Viewer) -> None:
    """Show the objects of a movie as napari's tracks, or remove them."""
    _controller(viewer).tracks.toggle(_annotation(viewer))


def next_division(viewer: napari.Viewer) -> None:
    """Show the next suggested division of an object in two."""
    _controller(viewer).tracks.step(_annotation(viewer))


def confirm_division(viewer: napari.Viewer) -> None:
    """Confirm the suggested division of an object into the two on screen."""
    _controller(viewer).tracks.confirm(_annotation(viewer))


def reject_division(viewer: napari.Viewer) -> None:
    """Reject the suggested division of an object."""
    _controller(viewer).tracks.reject(_annotation(viewer))


def read_all_planes(viewer: napari.Viewer) -> None:
    """Embed all planes of the stack in advance, while no other work is waiting."""
    _annotation(viewer).read_all_planes()


def keep_found(viewer: napari.Viewer) -> None:
    """Stop finding; objects found on planes that are done are written."""
    _controller(viewer).everything.cancel(keep=True)


def cancel(viewer: napari.Viewer) -> None:
    """Stop embedding and finding; Resume in the dock starts again."""
    _controller(viewer).everything.cancel()
    _session(viewer).cancel_following()
    _session(viewer).cancel()


def next_image(viewer: napari.Viewer) -> None:
    """Go to the next image of the list; the session of the present one is kept."""
    open_dock(viewer).listed.step(1)


def previous_image(viewer: napari.Viewer) -> None:
    """Go to the previous image of the list."""
    open_dock(viewer).listed.step(-1)


def mark_image_done(viewer: napari.Viewer) -> None:
    """Mark the image as done, or remove that mark."""
    controller = open_dock(viewer)
    controller.listed.mark_done(not controller.keeping.is_done)


def open_image_folder(viewer: napari.Viewer) -> None:
    """Ask for a folder, and list its images to work through."""
    folder = ask_for_folder(_window(viewer))
    if folder is not None:
        open_dock(viewer).listed.open(folder)


def show_help(viewer: napari.Viewer) -> None:
    """Show or hide the searchable list of keys and mouse gestures over the canvas."""
    toggle_help(bare(viewer), open_dock(viewer).refused.emit)


def _session(viewer: napari.Viewer) -> Session:
    return current_session(viewer)


def _controller(viewer: napari.Viewer) -> Controller:
    _session(viewer)  # raises RuntimeError if no image is chosen
    return open_dock(viewer)


def _window(viewer: napari.Viewer) -> Any:
    return bare(viewer).window._qt_window


def _annotation(viewer: napari.Viewer) -> Annotation:
    annotation = _controller(viewer).annotation
    assert annotation is not None
    return annotation
