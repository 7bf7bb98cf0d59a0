#!/usr/bin/env bash
# Trains with several processes on this machine.
#
#     launch/local.sh PROCESSES [--dry-run] --config=configs/adv.py [--workdir=DIR] [--config.FIELD=VALUE …]
#
# The machine's NVIDIA GPUs are divided among the processes. Without GPUs a process has one CPU device, or as many as
# XLA_FLAGS says. Ctrl-C or SIGTERM saves the step and stops all; the same command resumes. Exit status: 0, or that of
# the first process that failed.
set -euo pipefail
cd "$(dirname "$0")/.."

die() { echo "error: $*" >&2; exit 2; }

[[ ${1:-} =~ ^[1-9][0-9]*$ ]] || die "PROCESSES: found '${1:-}', wanted a number: launch/local.sh PROCESSES --config=…"
processes=$1 dry=
shift
if [[ ${1:-} == --dry-run ]]; then dry=1; shift; fi
(($#)) || die "found no --config, wanted one: launch/local.sh PROCESSES --config=…"
port=${FDETECT_PORT:-$((20000 + RANDOM % 20000))}
gpus=$(nvidia-smi --list-gpus 2>/dev/null | wc -l || true)
((gpus % processes == 0)) || die "PROCESSES: found $processes for $gpus GPUs, wanted a divisor"
share=$((gpus / processes))

pids=()
for ((i = 0; i < processes; i++)); do
    command=(env)
    if ((share)); then command+=("CUDA_VISIBLE_DEVICES=$(seq -s, $((i * share)) $((i * share + share - 1)))"); fi
    command+=("${PYTHON:-python}" -m fdetect_jax.main "$@")
    command+=("--coordinator=127.0.0.1:$port" "--num_processes=$processes" "--process_id=$i")
    if [[ $dry ]]; then echo "${command[*]@Q}"; continue; fi
    "${command[@]}" &
    pids+=($!)
done
[[ $dry ]] && exit

# One signal is enough: the processes agree on the step to stop at.
trap 'kill -TERM "${pids[0]}" 2>/dev/null || true' TERM INT HUP
status=0 watch=
while true; do
    running=()
    for pid in "${pids[@]}"; do
        if kill -0 "$pid" 2>/dev/null; then
            running+=("$pid")
            continue
        fi
        code=0
        wait "$pid" || code=$?
        if ((code && !status)); then status=$code; fi
    done
    ((${#running[@]})) || break
    pids=("${running[@]}")
    if ((status)) && [[ -z $watch ]]; then # the others notice within a minute, but not before they have joined
        (sleep 60 && kill -KILL "${pids[@]}" 2>/dev/null) >/dev/null 2>&1 &
        watch=$!
    fi
    sleep 0.2 || true
done
if [[ $watch ]]; then kill "$watch" 2>/dev/null || true; fi
exit "$status"
