"""What goes wrong on the way, built in on purpose; afterwards ``isovox run`` gives the same bytes and the counts add up.

What users of such tools suffer                               where it is kept from ours
a parent that waits for ever on a dead child                  test_clusters: a worker killed in mid-restore, a scan that kills all
one bad scan takes the whole run down                         test_bad_scans, test_clusters
large objects in the graph, too many task runs                test_limits: size of a call, task runs of 30 scans
finished work done again after a death                        test_resume, test_clusters: tiles are not predicted again
runs left RUNNING, locks left behind, zombies                 test_kill, test_two_runs, test_services
two schedules at once                                         test_two_runs
workers that outlive a cancelled run                          test_clusters, test_two_runs
half-written or torn files that are trusted                   test_damage, test_kill
"finished" though outputs are missing                         test_damage, test_bad_scans
mixed settings in one set of derivatives                      test_resume
results that differ between runs, modes, workers              test_clusters, and every test here that compares bytes
a full disk; storage and services that come and go            test_bad_scans, test_s3_faults, test_services
names of patients in headers, sidecars, logs, databases       test_limits
"""
