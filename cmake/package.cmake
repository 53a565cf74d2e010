# `cpack` in the build folder makes podfence_VERSION_ARCH.deb, for nodes without Kubernetes (mode local), or for those
# where the agent shall run outside a container.
set(docs /usr/share/doc/podfence)
install(TARGETS podfence RUNTIME DESTINATION /usr/bin)
install(FILES config/podfence.yaml DESTINATION /etc/podfence)
install(DIRECTORY DESTINATION /etc/podfence/pods)  # staticPodPath
install(FILES config/podfence.service DESTINATION /lib/systemd/system)
install(FILES README.md DESTINATION ${docs})
install(FILES LICENSE DESTINATION ${docs} RENAME copyright)
install(DIRECTORY config/examples/pods DESTINATION ${docs}/examples)
# The files themselves: metrics/ has links into the chart.
install(FILES helm/podfence/files/alerts.yaml helm/podfence/files/recording.yaml DESTINATION ${docs}/rules)
install(FILES helm/podfence/files/dashboard.json DESTINATION ${docs})

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME podfence)
set(CPACK_PACKAGE_VENDOR Podfence)
set(CPACK_PACKAGE_CONTACT "Podfence maintainers <podfence@localhost>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "Exclusive CPUs and memory for containers, fenced and verified")
set(CPACK_PACKAGE_DESCRIPTION "Podfence decides which CPUs and NUMA nodes containers get, as Kubernetes' managers do,
fences them in cgroup v2, and verifies with eBPF that the kernel keeps it.")
set(CPACK_SET_DESTDIR ON)
set(CPACK_STRIP_FILES ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION admin)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
set(control_files conffiles postinst prerm postrm)
# The configuration stays as the administrator left it; the service is stopped before it goes and restarted when it is
# replaced. It is not started by itself: there is nothing to run before there are pods. What it wrote goes with a purge.
list(TRANSFORM control_files PREPEND ${CMAKE_SOURCE_DIR}/config/debian/)
set(CPACK_DEBIAN_PACKAGE_CONTROL_EXTRA ${control_files})
# What is built is packed; cpack itself builds nothing.
set(CMAKE_SKIP_INSTALL_ALL_DEPENDENCY ON)
include(CPack)
