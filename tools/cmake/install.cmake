# `cmake --install build/release --component cpp --prefix P`: headers, libraries and a package for find_package(suan),
# with the targets suan::suan and suan::onnx. Python's part is the component "python".
include(CMakePackageConfigHelpers)

foreach(target suan suan_onnx)
  target_include_directories(${target} INTERFACE $<INSTALL_INTERFACE:include/suan>)
endforeach()
set_target_properties(suan_onnx PROPERTIES EXPORT_NAME onnx)
set_target_properties(suan PROPERTIES INSTALL_RPATH "$ORIGIN")
install(TARGETS suan suan_onnx EXPORT suan_targets LIBRARY DESTINATION lib COMPONENT cpp)
install(EXPORT suan_targets NAMESPACE suan:: FILE suan-targets.cmake DESTINATION lib/cmake/suan COMPONENT cpp)

file(GLOB core_headers CONFIGURE_DEPENDS core/*.h)
install(FILES ${core_headers} DESTINATION include/suan/core COMPONENT cpp)
install(FILES ops/api.h DESTINATION include/suan/ops COMPONENT cpp)
install(FILES frontends/onnx/session.h frontends/onnx/value.h frontends/onnx/c_api.h
  DESTINATION include/suan/frontends/onnx COMPONENT cpp)

set(config ${CMAKE_BINARY_DIR}/package)
file(WRITE ${config}/suan-config.cmake
  "include(CMakeFindDependencyMacro)\nfind_dependency(fmt)\ninclude(\${CMAKE_CURRENT_LIST_DIR}/suan-targets.cmake)\n")
# Before 1.0 a minor version may change the C++ interface; the C one has its own number (c_api.h).
write_basic_package_version_file(${config}/suan-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${config}/suan-config.cmake ${config}/suan-config-version.cmake DESTINATION lib/cmake/suan COMPONENT cpp)
