# SPDX-License-Identifier: Apache-2.0
# What `cmake --install` lays down: programs, libraries, the header, manual pages, and what pkg-config and
# find_package(Leap) read.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

install(TARGETS leap-donor RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(TARGETS leap_preload LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(TARGETS leap_shared leap_static EXPORT LeapTargets
  LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
set_target_properties(leap_shared PROPERTIES EXPORT_NAME leap)
set_target_properties(leap_static PROPERTIES EXPORT_NAME leap_static)
install(FILES ${PROJECT_SOURCE_DIR}/include/leap.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
foreach(section 1 3 5 7 8)
  file(GLOB pages CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/man/*.${section})
  if(pages)
    install(FILES ${pages} DESTINATION ${CMAKE_INSTALL_MANDIR}/man${section})
  endif()
endforeach()

set(LEAP_CMAKE_DIR ${CMAKE_INSTALL_LIBDIR}/cmake/Leap)
install(EXPORT LeapTargets NAMESPACE Leap:: DESTINATION ${LEAP_CMAKE_DIR})
configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/LeapConfig.cmake.in
  ${CMAKE_BINARY_DIR}/cmake/LeapConfig.cmake INSTALL_DESTINATION ${LEAP_CMAKE_DIR})
write_basic_package_version_file(${CMAKE_BINARY_DIR}/cmake/LeapConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_BINARY_DIR}/cmake/LeapConfig.cmake ${CMAKE_BINARY_DIR}/cmake/LeapConfigVersion.cmake
  DESTINATION ${LEAP_CMAKE_DIR})

# leap.pc finds its prefix from its own place, so that a moved tree works.
file(RELATIVE_PATH LEAP_PC_PREFIX /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
configure_file(${CMAKE_CURRENT_LIST_DIR}/leap.pc.in ${CMAKE_BINARY_DIR}/cmake/leap.pc @ONLY)
install(FILES ${CMAKE_BINARY_DIR}/cmake/leap.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
