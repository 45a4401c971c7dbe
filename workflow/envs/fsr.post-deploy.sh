#!/usr/bin/env bash
set -euo pipefail
python -m pip install --constraint constraints.txt --editable '.[study]'
