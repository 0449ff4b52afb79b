"""Where the buttons of findings lead: to a place and its plot, to the panel, to a check-up, to the documentation."""

from __future__ import annotations

from PySide6.QtCore import QObject, Slot
from PySide6.QtWidgets import QWidget

from gradscope.assets import finding_page
from gradscope.protocol.findings import Finding
from gradscope.protocol.nonfinite import Stage
from gradscope.protocol.phases import Phase
from gradscope.protocol.subjects import SubjectKind
from gradscope.state.selection import Selection
from gradscope.state.tree import find
from gradscope.ui.actions.check_ups import CheckUps
from gradscope.ui.actions.controller import Controller
from gradscope.ui.dialogs.check_up import CheckUpDialog
from gradscope.ui.dialogs.finding_page import FindingPageDialog
from gradscope.ui.docks.findings import FindingsDock
from gradscope.ui.look.theme import ThemeManager
from gradscope.ui.window.tabs import Workspace

_STAGE_OF_KIND = {
    SubjectKind.ACTIVATION: Stage.FORWARD,
    SubjectKind.ACTIVATION_GRAD: Stage.BACKWARD,
    SubjectKind.GRAD: Stage.BACKWARD,
    SubjectKind.CLIPPED_GRAD: Stage.CLIPPING,
    SubjectKind.PARAMETER: Stage.PARAMETERS,
    SubjectKind.UPDATE: Stage.UPDATE,
    SubjectKind.OPTIMIZER_STATE: Stage.OPTIMIZER_STATE,
    SubjectKind.BUFFER: Stage.BUFFERS,
}
_STAGE_OF_PHASE = {Phase.FORWARD: Stage.FORWARD, Phase.BACKWARD: Stage.BACKWARD, Phase.STEP: Stage.UPDATE}


class FindingPaths(QObject):
    """`window` is the parent of dialogs."""

    def __init__(self, controller: Controller, themes: ThemeManager, check_ups: CheckUps, *, window: QWidget) -> None:
        super().__init__(window)
        self._controller, self._themes, self._check_ups, self._window = controller, themes, check_ups, window

    def lead(self, dock: FindingsDock, workspace: Workspace) -> None:
        """From the panel to the plots; said once."""
        self._dock, self._workspace = dock, workspace
        dock.show_wanted.connect(self.show_place)
        dock.again_wanted.connect(self.check_again)
        dock.page_wanted.connect(self.show_page)

    # ------------------------------------------------------------------------------------------ slots

    @Slot()
    def show_panel(self) -> None:
        self._dock.show()
        self._dock.raise_()
        self._dock.view.setFocus()

    @Slot()
    def check_up(self) -> None:
        """All experiments."""
        self._open(())

    @Slot(str)
    def check_again(self, finding: str) -> None:
        """Only those that may find this."""
        self._open((finding,))

    @Slot(object)
    def show_place(self, finding: Finding) -> None:
        """Select it, and bring its plot forward, where its mark is: at the step at which it was first seen."""
        selection = self._selection(finding)
        if selection is not None:
            self._controller.select(selection)
        step: int | None = finding.first_step
        if finding.subject is not None:
            stage, kind = _STAGE_OF_KIND[finding.subject.kind], finding.subject.kind
        elif finding.phase is not None and finding.where:
            stage, kind = _STAGE_OF_PHASE[finding.phase], None
        else:
            # The loss, over all of the training.
            stage, kind, step = Stage.LOSS, None, None
        self._workspace.show_stage(stage, kind, step=step)

    @Slot(str)
    def show_page(self, finding: str) -> None:
        page = finding_page(finding)
        if page is not None:
            FindingPageDialog(page, self._window).open()

    # ------------------------------------------------------------------------------------------ private

    def _selection(self, finding: Finding) -> Selection | None:
        if finding.subject is not None:
            return Selection.of_subject(finding.subject)
        tree = self._controller.state.tree
        for is_parameter in (False, True) if tree is not None and finding.where else ():
            node = None if tree is None else find(tree, finding.where, is_parameter=is_parameter)
            if node is not None:
                return Selection.of(node)
        return None

    def _open(self, only: tuple[str, ...]) -> None:
        if self._controller.state.check_up_refusal() is None:
            dialog = CheckUpDialog(self._controller, self._check_ups, self._themes, only=only, parent=self._window)
            dialog.findings_wanted.connect(self.show_panel)
            dialog.open()
