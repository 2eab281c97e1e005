"""JUnit XML for CI: expectations as test cases, self-checks as another suite."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree as ET

from loadgen.judge.report import Expected, Report
from loadgen.judge.selfchecks import Check


def junit(report: Report) -> str:
    """The document of a run."""
    return suites(report.run.name, report.expectations, report.selfchecks)


def suites(name: str, expectations: Sequence[Expected], selfchecks: Sequence[Check]) -> str:
    """The document; a failed self-check is an error, a failed expectation a failure."""
    root = ET.Element("testsuites", name=f"loadgen {name}")
    suite = ET.SubElement(root, "testsuite", name=f"{name}: expectations")
    for item in expectations:
        case = ET.SubElement(suite, "testcase", name=item.text, classname=name)
        if item.where:
            case.set("file", item.where)
            case.set("line", f"{item.line}")
        if item.status != "passed":
            tag = "failure" if item.status == "failed" else "error"
            ET.SubElement(case, tag, message=item.reason or "does not hold").text = item.reason
        else:
            ET.SubElement(case, "system-out").text = item.reason
    checks = ET.SubElement(root, "testsuite", name=f"{name}: self-checks")
    for check in selfchecks:
        case = ET.SubElement(checks, "testcase", name=check.name, classname=f"{name}.selfcheck")
        if check.status == "fail":
            ET.SubElement(case, "error", message=check.words)
        elif check.status == "skip":
            ET.SubElement(case, "skipped", message=check.words)
        else:
            ET.SubElement(case, "system-out").text = check.words
    for element in (suite, checks):
        for attribute, path in (
            ("tests", "testcase"),
            ("failures", "testcase/failure"),
            ("errors", "testcase/error"),
        ):
            element.set(attribute, str(len(element.findall(path))))
        element.set("skipped", str(len(element.findall("testcase/skipped"))))
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"
