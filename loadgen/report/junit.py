"""JUnit XML for CI: expectations as test cases, self-checks as another suite."""

from collections.abc import Mapping
from typing import Any
from xml.etree import ElementTree as ET


def junit(report: Mapping[str, Any]) -> str:
    """The document; a failed self-check is an error, a failed expectation a failure."""
    run = report["run"]
    root = ET.Element("testsuites", name=f"loadgen {run['name']}")
    suite = ET.SubElement(root, "testsuite", name=f"{run['name']}: expectations")
    for item in report["expectations"]:
        case = ET.SubElement(suite, "testcase", name=item["text"], classname=run["name"])
        if item.get("where"):
            case.set("file", f"{item['where']}")
            case.set("line", f"{item['line']}")
        if item["status"] != "passed":
            tag = "failure" if item["status"] == "failed" else "error"
            ET.SubElement(case, tag, message=item["reason"] or "does not hold").text = item["reason"]
        else:
            ET.SubElement(case, "system-out").text = item["reason"]
    checks = ET.SubElement(root, "testsuite", name=f"{run['name']}: self-checks")
    for check in report["selfchecks"]:
        case = ET.SubElement(checks, "testcase", name=check["name"], classname=f"{run['name']}.selfcheck")
        if check["status"] == "fail":
            ET.SubElement(case, "error", message=check["words"])
        elif check["status"] == "skip":
            ET.SubElement(case, "skipped", message=check["words"])
        else:
            ET.SubElement(case, "system-out").text = check["words"]
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
