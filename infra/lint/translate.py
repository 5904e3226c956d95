"""Prints a SAM template as CloudFormation sees it, so that cfn-lint also checks what SAM generates.

usage: translate.py TEMPLATE
"""

import json
import pathlib
import sys

from samcli.yamlhelper import yaml_parse
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator

# The AWS managed policies that SAM adds by itself; looked up in the account on a real deployment.
MANAGED = {name: f"arn:aws:iam::aws:policy/service-role/{name}"
           for name in ("AWSLambdaBasicExecutionRole", "AWSLambdaVPCAccessExecutionRole")}


def local_code_to_s3(template):
    """Local paths become S3 addresses, as `sam package` would make them."""
    for resource in template["Resources"].values():
        for name in ("CodeUri", "DefinitionUri"):
            if isinstance(resource.get("Properties", {}).get(name), str):
                resource["Properties"][name] = "s3://bucket/key"


def main():
    template = yaml_parse(pathlib.Path(sys.argv[1]).read_text())
    local_code_to_s3(template)
    translated = Translator(MANAGED, Parser()).translate(template, {"AWS::Region": "eu-central-1"})
    json.dump(translated, sys.stdout, indent=1)


if __name__ == "__main__":
    main()
