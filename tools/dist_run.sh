#!/usr/bin/env bash
# Used by dist_train.sh and dist_test.sh: dist_run.sh TOOL PROCESSES ARGS...
set -euo pipefail
export OMP_WAIT_POLICY="${OMP_WAIT_POLICY:-PASSIVE}"
tools=$(cd "$(dirname "$0")" && pwd)
python=python
# Outside an activated environment, the one that "make" builds will do.
if [ -z "${VIRTUAL_ENV:-}" ] && ! python -c 'import mmdet' 2>/dev/null &&
  [ -x "$tools/../.venv/bin/python" ]; then
  python=$tools/../.venv/bin/python
fi
exec "$python" -m torch.distributed.run \
  --nnodes="${NNODES:-1}" \
  --node_rank="${NODE_RANK:-0}" \
  --master_addr="${MASTER_ADDR:-127.0.0.1}" \
  --master_port="${PORT:-29500}" \
  --nproc_per_node="$2" \
  "$tools/$1" "${@:3}" --launcher pytorch
