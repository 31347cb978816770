"""Calls that wait until things have come to rest."""

from napari_sam.gui.delay import Delay


def test_call_comes_once_however_often_it_was_asked_for(qtbot):
    called = []
    delay = Delay(0, lambda: called.append(1))
    for _ in range(3):
        delay.start()
    assert delay.is_pending
    qtbot.wait(20)
    assert called == [1]
    delay.close()


def test_call_asked_for_after_the_end_never_comes(qtbot):
    called = []
    delay = Delay(0, lambda: called.append(1))
    delay.start()
    delay.close()
    delay.start()
    qtbot.wait(20)
    assert not called
